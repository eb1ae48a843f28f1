/* A device that has functions of its own for configuration space. */
#include "qemu/osdep.h"
#include "hw/pci/pci_device.h"
#include "qemu/module.h"

#define TYPE_CONFIG_SPACE "config-space"
OBJECT_DECLARE_SIMPLE_TYPE(ConfigSpace, CONFIG_SPACE)

/* A register of the device's own, where no capability is. */
#define OWN 0xf0
/* A value of the interrupt line that is not taken. */
#define REFUSED 0x99

struct ConfigSpace {
    PCIDevice parent_obj;
    MemoryRegion registers;
    uint32_t own;
    uint32_t reads;
};

static uint64_t read_register(void *opaque, hwaddr addr, unsigned size)
{
    ConfigSpace *s = opaque;
    /* The command register as the driver has set it, and how often OWN was read. */
    return addr == 0 ? pci_get_word(&s->parent_obj.config[PCI_COMMAND]) : s->reads;
}

static const MemoryRegionOps ops = { .read = read_register, .endianness = DEVICE_LITTLE_ENDIAN };

static uint32_t config_read(PCIDevice *pdev, uint32_t addr, int len)
{
    ConfigSpace *s = CONFIG_SPACE(pdev);
    if (addr == OWN) {
        s->reads++;
        return s->own;
    }
    return pci_default_read_config(pdev, addr, len);
}

static void config_write(PCIDevice *pdev, uint32_t addr, uint32_t value, int len)
{
    ConfigSpace *s = CONFIG_SPACE(pdev);
    if (addr == OWN) {
        s->own = ~value;
    } else if (addr != PCI_INTERRUPT_LINE || value != REFUSED) {
        pci_default_write_config(pdev, addr, value, len);
    }
}

static void realize(PCIDevice *pdev, Error **errp)
{
    ConfigSpace *s = CONFIG_SPACE(pdev);
    memory_region_init_io(&s->registers, OBJECT(s), &ops, s, "registers", 4096);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->registers);
}

static void class_init(ObjectClass *klass, const void *data)
{
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);
    k->realize = realize;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = 0xbeef;
    k->class_id = PCI_CLASS_OTHERS;
    k->config_read = config_read;
    k->config_write = config_write;
}

static const TypeInfo types[] = {
    {
        .name = TYPE_CONFIG_SPACE,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(ConfigSpace),
        .class_init = class_init,
        .interfaces = (InterfaceInfo[]) { { INTERFACE_CONVENTIONAL_PCI_DEVICE }, { } },
    },
};

DEFINE_TYPES(types)
