/*
 * edu, the educational device of driver courses (PCI 1234:11e8): registers, a computation in a
 * thread, interrupts by pin and by MSI, DMA by a timer. What its registers do is published in QEMU's
 * docs/specs/edu.rst; this file was written from that, and checks what a driver asks for.
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "hw/pci/msi.h"
#include "hw/pci/pci_device.h"
#include "migration/vmstate.h"

#define TYPE_EDU "edu"
OBJECT_DECLARE_SIMPLE_TYPE(EduState, EDU)

/* Registers. Those below 0x80 have 4 bytes, the others 8, and take accesses of 4, too. */
enum {
    REG_ID = 0x00,
    REG_INVERT = 0x04,
    REG_FACTORIAL = 0x08,
    REG_STATUS = 0x20,
    REG_IRQ_STATUS = 0x24,
    REG_IRQ_RAISE = 0x60,
    REG_IRQ_ACKNOWLEDGE = 0x64,
    REG_WIDE = 0x80,
    REG_DMA_SOURCE = 0x80,
    REG_DMA_DESTINATION = 0x88,
    REG_DMA_LENGTH = 0x90,
    REG_DMA_COMMAND = 0x98,
};

#define ID_VALUE 0x010000edu
#define STATUS_BUSY BIT(0)
#define STATUS_INTERRUPT BIT(7)
#define COMMAND_START BIT(0)
#define COMMAND_TO_GUEST BIT(1)
#define COMMAND_INTERRUPT BIT(2)
#define IRQ_FACTORIAL 0x001
#define IRQ_DMA 0x100

/* The device's own memory, as DMA registers name it. */
#define BUFFER_BASE 0x40000
#define BUFFER_SIZE 4096
#define TRANSFER_MS 100

struct EduState {
    PCIDevice parent_obj;
    MemoryRegion registers;

    uint32_t inverted;
    uint32_t irq_status;

    /* The thread that computes, and what it shares with the registers. */
    QemuThread thread;
    QemuMutex lock;
    QemuCond work;
    bool ending;
    bool busy;
    bool interrupt_when_done;
    uint32_t number;

    QEMUTimer transfer;
    uint64_t source;
    uint64_t destination;
    uint64_t length;
    uint64_t command;
    uint64_t dma_mask;
    uint8_t buffer[BUFFER_SIZE];
};

/* A vector is an edge, the pin has a level. */
static void raise_interrupt(EduState *s, uint32_t cause)
{
    s->irq_status |= cause;
    if (s->irq_status == 0) {
        return;
    }
    if (msi_enabled(PCI_DEVICE(s))) {
        msi_notify(PCI_DEVICE(s), 0);
    } else {
        pci_irq_assert(PCI_DEVICE(s));
    }
}

static void acknowledge(EduState *s, uint32_t cause)
{
    s->irq_status &= ~cause;
    if (s->irq_status == 0 && !msi_enabled(PCI_DEVICE(s))) {
        pci_irq_deassert(PCI_DEVICE(s));
    }
}

/* Whether the driver wants an interrupt. */
static bool finish_factorial(EduState *s, uint32_t product)
{
    QEMU_LOCK_GUARD(&s->lock);
    s->number = product;
    s->busy = false;
    return s->interrupt_when_done;
}

static void *compute(void *opaque)
{
    EduState *s = opaque;

    qemu_mutex_lock(&s->lock);
    while (!s->ending) {
        if (!s->busy) {
            qemu_cond_wait(&s->work, &s->lock);
            continue;
        }
        uint32_t factor = s->number;
        qemu_mutex_unlock(&s->lock);

        uint32_t product = 1;
        for (; factor > 1; factor--) {
            product *= factor;
        }

        /* The state is saved under the big lock: with all of this or with nothing. */
        bql_lock();
        if (finish_factorial(s, product)) {
            raise_interrupt(s, IRQ_FACTORIAL);
        }
        bql_unlock();
        qemu_mutex_lock(&s->lock);
    }
    qemu_mutex_unlock(&s->lock);
    return NULL;
}

static void transfer(void *opaque)
{
    EduState *s = opaque;
    bool to_guest = s->command & COMMAND_TO_GUEST;
    uint64_t inside = to_guest ? s->source : s->destination;
    uint64_t outside = (to_guest ? s->destination : s->source) & s->dma_mask;

    if (inside < BUFFER_BASE || inside - BUFFER_BASE > BUFFER_SIZE ||
        s->length > BUFFER_SIZE - (inside - BUFFER_BASE)) {
        qemu_log_mask(LOG_GUEST_ERROR, "edu: %" PRIu64 " bytes at %#" PRIx64 " are not inside the "
                      "device's buffer, which has %d at %#x\n",
                      s->length, inside, BUFFER_SIZE, BUFFER_BASE);
    } else if (to_guest) {
        pci_dma_write(PCI_DEVICE(s), outside, s->buffer + (inside - BUFFER_BASE), s->length);
    } else {
        pci_dma_read(PCI_DEVICE(s), outside, s->buffer + (inside - BUFFER_BASE), s->length);
    }

    s->command &= ~COMMAND_START;
    if (s->command & COMMAND_INTERRUPT) {
        raise_interrupt(s, IRQ_DMA);
    }
}

static uint32_t status(EduState *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    return (s->busy ? STATUS_BUSY : 0) | (s->interrupt_when_done ? STATUS_INTERRUPT : 0);
}

static uint32_t factorial(EduState *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    return s->number;
}

static void start_factorial(EduState *s, uint32_t number)
{
    QEMU_LOCK_GUARD(&s->lock);
    if (!s->busy) {
        s->number = number;
        s->busy = true;
        qemu_cond_signal(&s->work);
    }
}

static void set_status(EduState *s, uint32_t value)
{
    QEMU_LOCK_GUARD(&s->lock);
    s->interrupt_when_done = value & STATUS_INTERRUPT;
}

static uint64_t edu_read(void *opaque, hwaddr addr, unsigned size)
{
    EduState *s = opaque;

    if (addr < REG_WIDE && size != 4) {
        return UINT64_MAX;
    }
    switch (addr) {
    case REG_ID:
        return ID_VALUE;
    case REG_INVERT:
        return s->inverted;
    case REG_FACTORIAL:
        return factorial(s);
    case REG_STATUS:
        return status(s);
    case REG_IRQ_STATUS:
        return s->irq_status;
    case REG_DMA_SOURCE:
        return s->source;
    case REG_DMA_DESTINATION:
        return s->destination;
    case REG_DMA_LENGTH:
        return s->length;
    case REG_DMA_COMMAND:
        return s->command;
    default:
        return UINT64_MAX;
    }
}

/* A transfer that runs keeps its registers. */
static void set_dma(EduState *s, uint64_t *reg, uint64_t value)
{
    if (!(s->command & COMMAND_START)) {
        *reg = value;
    }
}

static void start_transfer(EduState *s, uint64_t command)
{
    if (command & COMMAND_START) {
        set_dma(s, &s->command, command);
        timer_mod(&s->transfer, qemu_clock_get_ms(QEMU_CLOCK_VIRTUAL) + TRANSFER_MS);
    }
}

static void edu_write(void *opaque, hwaddr addr, uint64_t val, unsigned size)
{
    EduState *s = opaque;

    if (addr < REG_WIDE && size != 4) {
        return;
    }
    switch (addr) {
    case REG_INVERT:
        s->inverted = ~val;
        break;
    case REG_FACTORIAL:
        start_factorial(s, val);
        break;
    case REG_STATUS:
        set_status(s, val);
        break;
    case REG_IRQ_RAISE:
        raise_interrupt(s, val);
        break;
    case REG_IRQ_ACKNOWLEDGE:
        acknowledge(s, val);
        break;
    case REG_DMA_SOURCE:
        set_dma(s, &s->source, val);
        break;
    case REG_DMA_DESTINATION:
        set_dma(s, &s->destination, val);
        break;
    case REG_DMA_LENGTH:
        set_dma(s, &s->length, val);
        break;
    case REG_DMA_COMMAND:
        start_transfer(s, val);
        break;
    }
}

static const MemoryRegionOps edu_ops = {
    .read = edu_read,
    .write = edu_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 8 },
    .impl = { .min_access_size = 4, .max_access_size = 8 },
};

static void edu_realize(PCIDevice *pdev, Error **errp)
{
    EduState *s = EDU(pdev);

    pci_config_set_interrupt_pin(pdev->config, 1);
    if (msi_init(pdev, 0, 1, true, false, errp)) {
        return;
    }
    timer_init_ms(&s->transfer, QEMU_CLOCK_VIRTUAL, transfer, s);
    qemu_mutex_init(&s->lock);
    qemu_cond_init(&s->work);
    qemu_thread_create(&s->thread, "factorial", compute, s, QEMU_THREAD_JOINABLE);
    memory_region_init_io(&s->registers, OBJECT(s), &edu_ops, s, "edu", 1 * MiB);
    pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->registers);
}

static void edu_exit(PCIDevice *pdev)
{
    EduState *s = EDU(pdev);

    qemu_mutex_lock(&s->lock);
    s->ending = true;
    qemu_cond_signal(&s->work);
    qemu_mutex_unlock(&s->lock);
    /* The thread may wait for the big lock. */
    bql_unlock();
    qemu_thread_join(&s->thread);
    bql_lock();
    qemu_cond_destroy(&s->work);
    qemu_mutex_destroy(&s->lock);
    timer_del(&s->transfer);
    msi_uninit(pdev);
}

/* In another process, a factorial that was not finished begins again. */
static int edu_post_load(void *opaque, int version)
{
    EduState *s = opaque;

    QEMU_LOCK_GUARD(&s->lock);
    qemu_cond_signal(&s->work);
    return 0;
}

static const VMStateDescription edu_vmstate = {
    .name = TYPE_EDU,
    .version_id = 1,
    .minimum_version_id = 1,
    .post_load = edu_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, EduState),
        VMSTATE_UINT32(inverted, EduState),
        VMSTATE_UINT32(irq_status, EduState),
        VMSTATE_BOOL(busy, EduState),
        VMSTATE_BOOL(interrupt_when_done, EduState),
        VMSTATE_UINT32(number, EduState),
        VMSTATE_TIMER(transfer, EduState),
        VMSTATE_UINT64(source, EduState),
        VMSTATE_UINT64(destination, EduState),
        VMSTATE_UINT64(length, EduState),
        VMSTATE_UINT64(command, EduState),
        VMSTATE_BUFFER(buffer, EduState),
        VMSTATE_END_OF_LIST()
    },
};

static void edu_init(Object *obj)
{
    EduState *s = EDU(obj);

    s->dma_mask = MAKE_64BIT_MASK(0, 28);
    object_property_add_uint64_ptr(obj, "dma_mask", &s->dma_mask, OBJ_PROP_FLAG_READWRITE);
}

static void edu_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = edu_realize;
    k->exit = edu_exit;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = 0x11e8;
    k->revision = 0x10;
    k->class_id = PCI_CLASS_OTHERS;
    dc->desc = "Educational device";
    dc->vmsd = &edu_vmstate;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo edu_info[] = {
    {
        .name = TYPE_EDU,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(EduState),
        .instance_init = edu_init,
        .class_init = edu_class_init,
        .interfaces = (InterfaceInfo[]) {
            { INTERFACE_CONVENTIONAL_PCI_DEVICE },
            { },
        },
    },
};

DEFINE_TYPES(edu_info)
