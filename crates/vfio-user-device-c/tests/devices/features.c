/*
 * Two devices with a common ancestor, which use what the other test devices do not: a class of their
 * own with a method, regions in regions, MSI-X, bottom halves, a thread, phases of reset, properties.
 *
 *   BAR 0, a container   0x000 registers, 0x100 memory, 0x200 an alias of its second half, 0x300 ROM
 *   BAR 1, I/O ports     the registers again, by an alias
 *   BAR 4                MSI-X
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/cutils.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-properties.h"

#define TYPE_ANCESTOR "ancestor"
OBJECT_DECLARE_TYPE(Ancestor, AncestorClass, ANCESTOR)

enum { REG_NAME = 0x0, REG_EVENTS = 0x4, REG_COMMAND = 0x8, REG_LANES = 0xc, REG_SIZE = 0x10 };

struct Ancestor {
    PCIDevice parent_obj;
    MemoryRegion container, registers, ram, alias, rom, ports;
    QEMUBH *bh;
    QEMUTimer *timer;
    QemuThread thread;
    /* A letter an event, the last in the low byte. */
    uint32_t events;
    uint8_t lanes;
    uint64_t size;
    char *label;
    bool fast;
    uint32_t flags;
};

struct AncestorClass {
    PCIDeviceClass parent_class;
    uint32_t (*name)(Ancestor *a);
};

static void note(Ancestor *a, char event)
{
    a->events = a->events << 8 | (uint8_t)event;
}

static void bottom_half(void *opaque)
{
    note(opaque, 'b');
    msix_notify(PCI_DEVICE(opaque), 1);
}

static void on_timer(void *opaque)
{
    Ancestor *a = opaque;
    note(a, timer_pending(a->timer) ? '!' : 't');
}

static void *run(void *opaque)
{
    Ancestor *a = opaque;

    bql_lock();
    note(a, 'T');
    timer_mod(a->timer, qemu_clock_get_us(QEMU_CLOCK_VIRTUAL) + 100);
    bql_unlock();
    msix_notify(PCI_DEVICE(a), 2);
    return NULL;
}

static uint64_t read_register(void *opaque, hwaddr addr, unsigned size)
{
    Ancestor *a = opaque;

    switch (addr) {
    case REG_NAME:
        return ANCESTOR_GET_CLASS(a)->name(a);
    case REG_EVENTS:
        return a->events;
    case REG_LANES:
        return a->lanes | a->fast << 8 | a->flags << 16;
    case REG_SIZE:
        return a->size;
    default:
        return msix_enabled(PCI_DEVICE(a));
    }
}

static void write_register(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    Ancestor *a = opaque;

    if (addr == REG_COMMAND && value == 'b') {
        qemu_bh_schedule(a->bh);
        note(a, 's');
    } else if (addr == REG_COMMAND && value == 'T') {
        qemu_thread_create(&a->thread, "features", run, a, QEMU_THREAD_DETACHED);
    }
}

static const MemoryRegionOps ops = {
    .read = read_register,
    .write = write_register,
    .endianness = DEVICE_NATIVE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 4 },
};

static void realize(PCIDevice *pdev, Error **errp)
{
    ERRP_GUARD();
    Ancestor *a = ANCESTOR(pdev);
    Object *owner = OBJECT(a);

    memory_region_init(&a->container, owner, "container", 4 * KiB);
    memory_region_init_io(&a->registers, owner, &ops, a, "registers", 0x100);
    memory_region_init_ram(&a->ram, owner, "ram", 0x100, errp);
    memory_region_init_alias(&a->alias, owner, "alias", &a->ram, 0x80, 0x80);
    memory_region_init_rom(&a->rom, owner, "rom", 0x100, errp);
    pstrcpy(memory_region_get_ram_ptr(&a->rom), 0x100, a->label ? a->label : "no label");
    memory_region_add_subregion(&a->container, 0, &a->registers);
    memory_region_add_subregion(&a->container, 0x100, &a->ram);
    memory_region_add_subregion(&a->container, 0x200, &a->alias);
    memory_region_add_subregion(&a->container, 0x300, &a->rom);
    memory_region_init_alias(&a->ports, owner, "ports", &a->registers, 0, 0x20);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &a->container);
    pci_register_bar(pdev, 1, PCI_BASE_ADDRESS_SPACE_IO, &a->ports);
    if (msix_init_exclusive_bar(pdev, 3, 4, errp)) {
        return;
    }
    a->bh = qemu_bh_new(bottom_half, a);
    a->timer = timer_new_us(QEMU_CLOCK_VIRTUAL, on_timer, a);
}

static void enter(Object *obj, ResetType type)
{
    ANCESTOR(obj)->events = 'e';
}

static void hold(Object *obj, ResetType type)
{
    note(ANCESTOR(obj), 'h');
}

static const Property properties[] = {
    DEFINE_PROP_UINT8("lanes", Ancestor, lanes, 4),
    DEFINE_PROP_SIZE("size", Ancestor, size, 2 * MiB),
    DEFINE_PROP_STRING("label", Ancestor, label),
    DEFINE_PROP_BIT("loud", Ancestor, flags, 3, true),
};

static bool get_fast(Object *obj, Error **errp)
{
    return ANCESTOR(obj)->fast;
}

static void set_fast(Object *obj, bool value, Error **errp)
{
    ANCESTOR(obj)->fast = value;
}

static void class_init(ObjectClass *klass, const void *data)
{
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);

    rc->phases.enter = enter;
    rc->phases.hold = hold;
    k->realize = realize;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = 0xfea7;
    k->class_id = PCI_CLASS_OTHERS;
    device_class_set_props(DEVICE_CLASS(klass), properties);
    object_class_property_add_bool(klass, "fast", get_fast, set_fast);
}

static uint32_t name_of_first(Ancestor *a)
{
    return 0x11111111;
}

static uint32_t name_of_second(Ancestor *a)
{
    return 0x22222222;
}

/* As until QEMU 10.0. */
static void first_class_init(ObjectClass *klass, void *data)
{
    ANCESTOR_CLASS(klass)->name = name_of_first;
    PCI_DEVICE_CLASS(klass)->revision = 1;
}

static void second_class_init(ObjectClass *klass, const void *data)
{
    ANCESTOR_CLASS(klass)->name = name_of_second;
    PCI_DEVICE_CLASS(klass)->revision = *(const int *)data;
}

static const int second_revision = 2;

static const TypeInfo infos[] = {
    { .name = "first", .parent = TYPE_ANCESTOR, .class_init = first_class_init },
    { .name = "second",
      .parent = TYPE_ANCESTOR,
      .class_init = second_class_init,
      .class_data = &second_revision },
    { .name = TYPE_ANCESTOR,
      .parent = TYPE_PCI_DEVICE,
      .instance_size = sizeof(Ancestor),
      .class_size = sizeof(AncestorClass),
      .class_init = class_init,
      .abstract = true,
      .interfaces = (const InterfaceInfo[]){ { INTERFACE_CONVENTIONAL_PCI_DEVICE }, { } } },
};

DEFINE_TYPES(infos)
