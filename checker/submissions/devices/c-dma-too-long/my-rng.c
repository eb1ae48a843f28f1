/* A random number generator on the PCI bus that interrupts by its pin and writes to memory. */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "hw/pci/pci_device.h"

#define TYPE_MY_RNG "my_rng"
OBJECT_DECLARE_SIMPLE_TYPE(MyRngState, MY_RNG)

enum {
    REG_RANDOM = 0x00,
    REG_SEED = 0x04,
    REG_CONTROL = 0x08,
    REG_STATUS = 0x0c,
    REG_NUMBER = 0x10,
    REG_ADDRESS = 0x18,
    REG_ADDRESS_HIGH = 0x1c,
    REG_LENGTH = 0x20,
};

#define CONTROL_MAKE 1
#define CONTROL_FILL 2
#define STATUS_READY 1
#define STATUS_FILLED 2
#define STATUS_FAILED 4
#define MAX_LENGTH 4096

struct MyRngState {
    PCIDevice parent_obj;
    MemoryRegion mmio;
    QEMUTimer timer;
    uint64_t state;
    uint64_t address;
    uint32_t length;
    uint32_t status;
    uint32_t number;
};

static uint32_t next_number(MyRngState *s)
{
    s->state = s->state * 6364136223846793005ULL + 1442695040888963407ULL;
    return s->state >> 32;
}

static void set_status(MyRngState *s, uint32_t status)
{
    s->status = status;
    pci_set_irq(PCI_DEVICE(s), s->status != 0);
}

static void made(void *opaque)
{
    MyRngState *s = opaque;

    s->number = next_number(s);
    set_status(s, s->status | STATUS_READY);
}

static void fill(MyRngState *s)
{
    uint32_t numbers[MAX_LENGTH / 4 + 1];
    unsigned i;

    if (s->length == 0 || s->length > MAX_LENGTH || s->length % 4 != 0) {
        set_status(s, s->status | STATUS_FAILED);
        return;
    }
    for (i = 0; i < s->length / 4; i++) {
        numbers[i] = cpu_to_le32(next_number(s));
    }
    if (pci_dma_write(PCI_DEVICE(s), s->address, numbers, s->length + 4) != MEMTX_OK) {
        set_status(s, s->status | STATUS_FAILED);
        return;
    }
    set_status(s, s->status | STATUS_FILLED);
}

static uint64_t my_rng_read(void *opaque, hwaddr addr, unsigned size)
{
    MyRngState *s = opaque;

    switch (addr) {
    case REG_RANDOM:
        return next_number(s);
    case REG_STATUS:
        return s->status;
    case REG_NUMBER:
        return s->number;
    case REG_ADDRESS:
        return (uint32_t)s->address;
    case REG_ADDRESS_HIGH:
        return s->address >> 32;
    case REG_LENGTH:
        return s->length;
    default:
        return 0;
    }
}

static void my_rng_write(void *opaque, hwaddr addr, uint64_t val, unsigned size)
{
    MyRngState *s = opaque;

    switch (addr) {
    case REG_SEED:
        s->state = val;
        break;
    case REG_CONTROL:
        if (val & CONTROL_MAKE) {
            timer_mod(&s->timer, qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) + 2);
        }
        if (val & CONTROL_FILL) {
            fill(s);
        }
        break;
    case REG_STATUS:
        set_status(s, s->status & ~val);
        break;
    case REG_ADDRESS:
        s->address = deposit64(s->address, 0, 32, val);
        break;
    case REG_ADDRESS_HIGH:
        s->address = deposit64(s->address, 32, 32, val);
        break;
    case REG_LENGTH:
        s->length = val;
        break;
    }
}

/* An access of 8 bytes is two of 4. */
static const MemoryRegionOps my_rng_ops = {
    .read = my_rng_read,
    .write = my_rng_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8 },
    .impl = { .min_access_size = 4, .max_access_size = 4 },
};

static void my_rng_realize(PCIDevice *pdev, Error **errp)
{
    MyRngState *s = MY_RNG(pdev);

    pdev->config[PCI_INTERRUPT_PIN] = 1;
    timer_init_ms(&s->timer, QEMU_CLOCK_VIRTUAL, made, s);
    memory_region_init_io(&s->mmio, OBJECT(s), &my_rng_ops, s, "my_rng", 4096);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
}

static void my_rng_reset(DeviceState *dev)
{
    MyRngState *s = MY_RNG(dev);

    timer_del(&s->timer);
    s->address = 0;
    s->length = 0;
    s->number = 0;
    set_status(s, 0);
}

static void my_rng_class_init(ObjectClass *klass, void *data)
{
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = my_rng_realize;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = 0xcafe;
    k->revision = 0x10;
    k->class_id = PCI_CLASS_OTHERS;
    device_class_set_legacy_reset(DEVICE_CLASS(klass), my_rng_reset);
}

static const TypeInfo my_rng_info = {
    .name = TYPE_MY_RNG,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(MyRngState),
    .class_init = my_rng_class_init,
    .interfaces = (InterfaceInfo[]) { { INTERFACE_CONVENTIONAL_PCI_DEVICE }, { } },
};

static void my_rng_register_types(void)
{
    type_register_static(&my_rng_info);
}

type_init(my_rng_register_types)
