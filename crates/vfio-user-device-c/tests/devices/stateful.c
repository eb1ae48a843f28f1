/* A device with something of everything that a VMStateDescription can declare. */
#include "qemu/osdep.h"
#include "hw/pci/pci_device.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qemu/units.h"

#ifndef VERSION
#define VERSION 2
#endif
#ifndef RAM_SIZE
#define RAM_SIZE 4096
#endif
#ifndef STATE_NAME
#define STATE_NAME "stateful"
#endif

#define TYPE_STATEFUL "stateful"
OBJECT_DECLARE_SIMPLE_TYPE(Stateful, STATEFUL)

/* Registers of BAR 0, 8 bytes each; those that are not named are plain memory. */
#define RANDOM 0x00
#define TIMER 0x08
#define FIRED 0x10
#define INTX 0x18
#define FLAG 0x20
#define EXTRA 0x28
#define LOADED 0x30
#define BYTES 0x40
#define WORDS 0x60
#define PAIRS 0x80

struct pair {
    int16_t low;
    uint64_t high;
};

struct Stateful {
    PCIDevice parent_obj;
    MemoryRegion registers, ram;
    QEMUTimer timer;
    QEMUTimer *other_timer;
    uint64_t fired;
    bool flag;
    uint64_t extra;
    uint8_t bytes[32];
    uint32_t words[8];
    struct pair pairs[2];
    /* Not of the state: how often that was loaded, and its version. */
    uint64_t loaded;
};

static uint64_t stateful_read(void *opaque, hwaddr at, unsigned size)
{
    Stateful *s = opaque;
    switch (at) {
    case RANDOM:
        return rand();
    case TIMER:
        return timer_pending(&s->timer) | timer_pending(s->other_timer) << 1;
    case FIRED:
        return s->fired;
    case INTX:
        return s->parent_obj.irq_state;
    case FLAG:
        return s->flag;
    case EXTRA:
        return s->extra;
    case LOADED:
        return s->loaded;
    case BYTES ... BYTES + 31:
        return s->bytes[at - BYTES];
    case WORDS ... WORDS + 31:
        return s->words[(at - WORDS) / 4];
    case PAIRS:
    case PAIRS + 0x10:
        return (uint16_t)s->pairs[(at - PAIRS) / 0x10].low;
    case PAIRS + 8:
    case PAIRS + 0x18:
        return s->pairs[(at - PAIRS) / 0x10].high;
    default:
        return 0;
    }
}

static void stateful_write(void *opaque, hwaddr at, uint64_t value, unsigned size)
{
    Stateful *s = opaque;
    switch (at) {
    case RANDOM:
        srand(value);
        break;
    case TIMER:
        timer_mod(&s->timer, qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) + (value & 0xffff));
        timer_mod(s->other_timer, qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) + (value >> 16));
        break;
    case INTX:
        pci_set_irq(&s->parent_obj, value & 1);
        break;
    case FLAG:
        s->flag = value & 1;
        break;
    case EXTRA:
        s->extra = value;
        break;
    case BYTES ... BYTES + 31:
        s->bytes[at - BYTES] = value;
        break;
    case WORDS ... WORDS + 31:
        s->words[(at - WORDS) / 4] = value;
        break;
    case PAIRS:
    case PAIRS + 0x10:
        s->pairs[(at - PAIRS) / 0x10].low = value;
        break;
    case PAIRS + 8:
    case PAIRS + 0x18:
        s->pairs[(at - PAIRS) / 0x10].high = value;
        break;
    }
}

static const MemoryRegionOps stateful_ops = {
    .read = stateful_read,
    .write = stateful_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8 },
    .impl = { .min_access_size = 1, .max_access_size = 8 },
};

static void fire(void *opaque)
{
    Stateful *s = opaque;
    s->fired++;
}

static void stateful_realize(PCIDevice *pdev, Error **errp)
{
    Stateful *s = STATEFUL(pdev);
    pci_config_set_interrupt_pin(pdev->config, 1);
    timer_init_ms(&s->timer, QEMU_CLOCK_VIRTUAL, fire, s);
    s->other_timer = timer_new_ms(QEMU_CLOCK_REALTIME, fire, s);
    memory_region_init_io(&s->registers, OBJECT(s), &stateful_ops, s, "registers", 4096);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->registers);
    memory_region_init_ram(&s->ram, OBJECT(s), "ram", RAM_SIZE, errp);
    pci_register_bar(pdev, 2, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->ram);
}

static int stateful_post_load(void *opaque, int version)
{
    Stateful *s = opaque;
    s->loaded += 1 + 0x100 * version;
    return s->extra == 0xbad ? -1 : 0;
}

static bool extra_needed(void *opaque)
{
    return ((Stateful *)opaque)->extra != 0;
}

static const VMStateDescription vmstate_extra = {
    .name = STATE_NAME "/extra",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = extra_needed,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(extra, Stateful),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_pair = {
    .name = "pair",
    .version_id = 3,
    .minimum_version_id = 3,
    .fields = (const VMStateField[]) {
        VMSTATE_INT16(low, struct pair),
        VMSTATE_UINT64(high, struct pair),
        VMSTATE_END_OF_LIST()
    },
};

static int stateful_pre_save(void *opaque)
{
    Stateful *s = opaque;
    while (s->extra == 0x100f) {
        sleep(1);
    }
    return 0;
}

static const VMStateDescription vmstate_stateful = {
    .name = STATE_NAME,
    .version_id = VERSION,
    .minimum_version_id = 2,
    .pre_save = stateful_pre_save,
    .post_load = stateful_post_load,
    .fields = (VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, Stateful),
        VMSTATE_TIMER(timer, Stateful),
        VMSTATE_TIMER_PTR(other_timer, Stateful),
        VMSTATE_UINT64(fired, Stateful),
        VMSTATE_BOOL(flag, Stateful),
        VMSTATE_BUFFER(bytes, Stateful),
        VMSTATE_UINT32_ARRAY(words, Stateful, 8),
        VMSTATE_UNUSED(4),
#ifndef NO_PAIRS
        VMSTATE_STRUCT_ARRAY(pairs, Stateful, 2, 1, vmstate_pair, struct pair),
#endif
        VMSTATE_UINT64_V(loaded, Stateful, 3),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription *const[]) { &vmstate_extra, NULL },
};

static void stateful_class_init(ObjectClass *klass, const void *data)
{
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);
    k->realize = stateful_realize;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = 0xbeef;
    k->class_id = PCI_CLASS_OTHERS;
    DEVICE_CLASS(klass)->vmsd = &vmstate_stateful;
}

static const TypeInfo stateful_types[] = {
    {
        .name = TYPE_STATEFUL,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(Stateful),
        .class_init = stateful_class_init,
        .interfaces = (InterfaceInfo[]) { { INTERFACE_CONVENTIONAL_PCI_DEVICE }, { } },
    },
};

DEFINE_TYPES(stateful_types)
