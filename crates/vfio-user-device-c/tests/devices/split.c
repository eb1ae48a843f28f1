/*
 * Tells how accesses reach a region's functions.
 *
 *   BAR 0  the region; a read gives its address in every byte, and a pattern
 *   BAR 2  memory: the number of calls, then of each its address, its size (plus 0x100 for a write)
 *          and its value
 *   BAR 4  what the region's operations say: valid sizes, implemented sizes, flags
 */
#include "hw/pci/pci_device.h"
#include "qemu/osdep.h"

#define TYPE_SPLIT "split"
#define MAX_CALLS 64

typedef struct SplitState SplitState;
DECLARE_INSTANCE_CHECKER(SplitState, SPLIT, TYPE_SPLIT)

struct SplitState {
    PCIDevice parent_obj;
    MemoryRegion region;
    MemoryRegion calls;
    MemoryRegion settings;
    MemoryRegionOps ops;
};

static void add_call(SplitState *s, uint64_t addr, uint64_t size, uint64_t value)
{
    uint8_t *log = memory_region_get_ram_ptr(&s->calls);
    uint64_t count = ldq_le_p(log);
    if (count < MAX_CALLS) {
        stq_le_p(log + 8 + count * 24, addr);
        stq_le_p(log + 16 + count * 24, size);
        stq_le_p(log + 24 + count * 24, value);
    }
    stq_le_p(log, count + 1);
}

static uint64_t split_read(void *opaque, hwaddr addr, unsigned size)
{
    uint64_t value = (addr + 1) * 0x0101010101010101 ^ 0x0123456789abcdef;
    add_call(opaque, addr, size, value);
    return value;
}

static void split_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    add_call(opaque, addr, size | 0x100, value);
}

static uint64_t nothing(void *opaque, hwaddr addr, unsigned size)
{
    return 0;
}

static void set(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    SplitState *s = opaque;
    unsigned *sizes[] = { &s->ops.valid.min_access_size, &s->ops.valid.max_access_size,
                          &s->ops.impl.min_access_size, &s->ops.impl.max_access_size };
    if (addr / 4 < ARRAY_SIZE(sizes)) {
        *sizes[addr / 4] = value;
    } else {
        s->ops.valid.unaligned = value & 1;
        s->ops.impl.unaligned = value & 2;
        s->ops.endianness = value & 4 ? DEVICE_BIG_ENDIAN : DEVICE_LITTLE_ENDIAN;
    }
}

static const MemoryRegionOps settings_ops = { .read = nothing, .write = set };

static void split_realize(PCIDevice *pdev, Error **errp)
{
    SplitState *s = SPLIT(pdev);

    s->ops = (MemoryRegionOps){ .read = split_read, .write = split_write };
    memory_region_init_io(&s->region, OBJECT(s), &s->ops, s, "split", 4096);
    memory_region_init_ram(&s->calls, OBJECT(s), "calls", 4096, errp);
    memory_region_init_io(&s->settings, OBJECT(s), &settings_ops, s, "settings", 4096);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->region);
    pci_register_bar(pdev, 2, PCI_BASE_ADDRESS_MEM_TYPE_64, &s->calls);
    pci_register_bar(pdev, 4, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->settings);
}

static void split_class_init(ObjectClass *klass, const void *data)
{
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);
    k->realize = split_realize;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = 0x5b11;
    k->class_id = PCI_CLASS_OTHERS;
}

static const TypeInfo split_info = {
    .name = TYPE_SPLIT,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(SplitState),
    .class_init = split_class_init,
};

static void split_register(void)
{
    type_register_static(&split_info);
}

type_init(split_register)
