/*
 * my_rng for QEMU 11: class data is constant, and so are interfaces.
 */
#include "qemu/osdep.h"
#include "qemu/guest-random.h"
#include "qemu/units.h"
#include "qom/object.h"
#include "hw/pci/pci_device.h"
#include "hw/core/qdev-properties.h"
#include "migration/vmstate.h"

#define TYPE_MY_RNG "my_rng"
OBJECT_DECLARE_SIMPLE_TYPE(MyRng, MY_RNG)

enum { RANDOM = 0x0, SEED = 0x4 };

struct MyRng {
    PCIDevice pci;
    MemoryRegion bar;
    uint32_t state;
};

static uint32_t next(MyRng *rng)
{
    rng->state ^= rng->state << 13;
    rng->state ^= rng->state >> 17;
    rng->state ^= rng->state << 5;
    return rng->state;
}

/* An xorshift generator that is 0 stays so. */
static void start(MyRng *rng, uint32_t seed)
{
    rng->state = seed ? seed : 0x9e3779b9;
}

static MemTxResult bar_read(void *opaque, hwaddr offset, uint64_t *data, unsigned size,
                            MemTxAttrs attrs)
{
    switch (offset) {
    case RANDOM:
        *data = next(opaque);
        break;
    default:
        *data = 0;
        break;
    }
    return MEMTX_OK;
}

static MemTxResult bar_write(void *opaque, hwaddr offset, uint64_t data, unsigned size,
                             MemTxAttrs attrs)
{
    switch (offset) {
    case SEED:
        start(opaque, data);
        break;
    }
    return MEMTX_OK;
}

static const MemoryRegionOps bar_ops = {
    .read_with_attrs = bar_read,
    .write_with_attrs = bar_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 4,
};

static void realize(PCIDevice *pci, Error **errp)
{
    MyRng *rng = MY_RNG(pci);
    uint32_t seed;

    qemu_guest_getrandom_nofail(&seed, sizeof(seed));
    start(rng, seed);
    memory_region_init_io(&rng->bar, OBJECT(rng), &bar_ops, rng, TYPE_MY_RNG, 4 * KiB);
    pci_register_bar(pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &rng->bar);
}

static const VMStateDescription vmstate = {
    .name = TYPE_MY_RNG,
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(pci, MyRng),
        VMSTATE_UINT32(state, MyRng),
        VMSTATE_END_OF_LIST()
    },
};

static void class_init(ObjectClass *klass, const void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);

    dc->desc = "Random numbers";
    dc->vmsd = &vmstate;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    pc->realize = realize;
    pc->vendor_id = 0x1234;
    pc->device_id = 0xcafe;
    pc->revision = 0x10;
    pc->class_id = PCI_CLASS_OTHERS;
}

static const TypeInfo types[] = {
    {
        .name = TYPE_MY_RNG,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(MyRng),
        .class_init = class_init,
        .interfaces = (const InterfaceInfo[]) {
            { INTERFACE_CONVENTIONAL_PCI_DEVICE },
            { }
        },
    }
};

DEFINE_TYPES(types)
