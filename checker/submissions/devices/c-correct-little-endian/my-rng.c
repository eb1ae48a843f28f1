/* A random number generator on the PCI bus. */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "hw/pci/pci_device.h"

#define TYPE_MY_RNG "my_rng"
OBJECT_DECLARE_SIMPLE_TYPE(MyRngState, MY_RNG)

struct MyRngState {
    PCIDevice parent_obj;
    MemoryRegion mmio;
    uint64_t state;
};

static uint64_t my_rng_read(void *opaque, hwaddr addr, unsigned size)
{
    MyRngState *s = opaque;

    if (addr == 0) {
        s->state = s->state * 6364136223846793005ULL + 1442695040888963407ULL;
        return s->state >> 32;
    }
    return 0;
}

static void my_rng_write(void *opaque, hwaddr addr, uint64_t val, unsigned size)
{
    MyRngState *s = opaque;

    if (addr == 4) {
        s->state = val;
    }
}

static const MemoryRegionOps my_rng_ops = {
    .read = my_rng_read,
    .write = my_rng_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8 },
    .impl = { .min_access_size = 1, .max_access_size = 4 },
};

static void my_rng_realize(PCIDevice *pdev, Error **errp)
{
    MyRngState *s = MY_RNG(pdev);

    memory_region_init_io(&s->mmio, OBJECT(s), &my_rng_ops, s, "my_rng", 4096);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
}

static void my_rng_class_init(ObjectClass *klass, void *data)
{
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = my_rng_realize;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = 0xcafe;
    k->revision = 0x10;
    k->class_id = PCI_CLASS_OTHERS;
    set_bit(DEVICE_CATEGORY_MISC, DEVICE_CLASS(klass)->categories);
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
