/*
 * A device with the mistakes that students make: a write to BAR 0 makes the one of that offset.
 * Line numbers are part of the tests: they look for MISTAKE in here.
 */
#include "qemu/osdep.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-properties.h"

typedef struct FaultyState {
    PCIDevice parent_obj;
    MemoryRegion mmio;
    uint32_t *numbers;
    uint32_t table[4];
    uint32_t divisor;
    bool fails;
    bool divides;
} FaultyState;

#define TYPE_FAULTY "faulty"
#define FAULTY(obj) OBJECT_CHECK(FaultyState, (obj), TYPE_FAULTY)

static uint64_t faulty_read(void *opaque, hwaddr addr, unsigned size)
{
    return 7;
}

static void faulty_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    FaultyState *s = opaque;
    volatile uint32_t *nowhere = NULL;

    switch (addr) {
    case 0x00:
        s->numbers[value] = 1; /* MISTAKE heap */
        break;
    case 0x04:
        s->table[value] = 1; /* MISTAKE index */
        break;
    case 0x08:
        g_free(s->numbers);
        s->numbers[0] = 1; /* MISTAKE freed */
        break;
    case 0x0c:
        *nowhere = 1; /* MISTAKE null */
        break;
    case 0x10:
        s->table[0] = value / s->divisor; /* MISTAKE zero */
        break;
    case 0x14:
        while (value) { /* MISTAKE endless */
            barrier();
        }
        break;
    case 0x18:
        pci_dma_read(&s->parent_obj, 0, s->numbers, value); /* MISTAKE dma */
        break;
    case 0x1c:
        FAULTY(&s->mmio)->divisor = 1; /* MISTAKE type */
        break;
    case 0x20:
        g_assert(value == 0); /* MISTAKE assertion */
        break;
    case 0x24:
        sleep(value); /* MISTAKE sleep */
        break;
    }
}

static const MemoryRegionOps faulty_ops = { .read = faulty_read, .write = faulty_write };

static void faulty_realize(PCIDevice *pdev, Error **errp)
{
    FaultyState *s = FAULTY(pdev);

    if (s->fails) {
        error_setg(errp, "the number of lanes is odd");
        return;
    }
    if (s->divides) {
        s->table[0] = 1 / s->divisor; /* MISTAKE realize */
    }
    s->numbers = g_new0(uint32_t, 4);
    memory_region_init_io(&s->mmio, OBJECT(s), &faulty_ops, s, "faulty", 4096);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
}

static Property faulty_properties[] = {
    DEFINE_PROP_BOOL("fails", FaultyState, fails, false),
    DEFINE_PROP_BOOL("divides", FaultyState, divides, false),
    DEFINE_PROP_UINT32("divisor", FaultyState, divisor, 0),
    DEFINE_PROP_END_OF_LIST(),
};

static void faulty_class_init(ObjectClass *klass, void *data)
{
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);
    k->realize = faulty_realize;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = 0xfa17;
    k->class_id = PCI_CLASS_OTHERS;
    device_class_set_props(DEVICE_CLASS(klass), faulty_properties);
}

static const TypeInfo faulty_info = {
    .name = TYPE_FAULTY,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(FaultyState),
    .class_init = faulty_class_init,
};

static void faulty_register_types(void)
{
    type_register_static(&faulty_info);
}

type_init(faulty_register_types)
