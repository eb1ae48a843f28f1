/*
 * The state of a device on its way to the process that takes its place: each field of its
 * VMStateDescription by its name, and each description by its version.
 *
 *     "my_rng": 1, "my_rng.seed": 7, "my_rng.dma": 2, "my_rng.dma.length[3]": 64
 *
 * Configuration space, interrupts and guest memory are the server's. Beside the fields go the level
 * of INTx, the bytes of regions of memory, and where rand() is in its sequence.
 */
#include "internal.h"
#include "qemu/units.h"

/* Bytes of regions of memory that are handed over. */
#define MAX_RAM (4 * MiB)

/* One direction or the other: the functions below go through the same fields. */
struct walk {
    /* Where fields are put, or NULL. */
    struct vfio_user_state *to;
    /* Where they are got from, or NULL. */
    const struct vfio_user_state *from;
};

static int walk_description(struct walk *walk, const char *name,
                            const VMStateDescription *description, void *at);

static int number(struct walk *walk, const char *name, uint64_t *value)
{
    return walk->to ? vfio_user_state_put_number(walk->to, name, *value)
                    : vfio_user_state_get_number(walk->from, name, value);
}

static int bytes(struct walk *walk, const char *name, void *at, size_t length)
{
    return walk->to ? vfio_user_state_put_bytes(walk->to, name, at, length)
                    : vfio_user_state_get_bytes(walk->from, name, at, length);
}

/* An error with a message of printf's kind. */
static int G_GNUC_PRINTF(1, 2) refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return vfio_user_error(EINVAL, message);
}

static int walk_integer(struct walk *walk, const char *name, void *at, size_t size, uint64_t max)
{
    uint64_t value = 0;
    if (walk->to) {
        value = ldn_le_p(at, size);
    }
    int error = number(walk, name, &value);
    if (error == 0 && walk->from) {
        if (value > max) {
            return refuse("the field \"%s\" of the state is too large: %" PRIu64, name, value);
        }
        stn_le_p(at, size, value);
    }
    return error;
}

/* What a timer has left, and 1 more; 0 for one that is not set. */
static int walk_timer(struct walk *walk, const char *name, QEMUTimer *timer)
{
    uint64_t left = 0;
    if (walk->to && timer_pending(timer)) {
        left = 1 + MAX(time_left(timer), 0);
    }
    int error = number(walk, name, &left);
    if (error == 0 && walk->from) {
        if (left > INT64_MAX / 2) {
            return refuse("the timer \"%s\" of the state has too long to go", name);
        }
        if (left == 0) {
            timer_del(timer);
        } else {
            timer_mod_ns(timer, qemu_clock_get_ns(timer->clock) + (int64_t)left - 1);
        }
    }
    return error;
}

static int walk_element(struct walk *walk, const char *name, const VMStateField *field, void *at)
{
    switch (field->kind) {
    case QEMU_DEVICE_FIELD_NUMBER:
        return walk_integer(walk, name, at, field->size, MAKE_64BIT_MASK(0, 8 * field->size));
    case QEMU_DEVICE_FIELD_BOOL:
        return walk_integer(walk, name, at, field->size, 1);
    case QEMU_DEVICE_FIELD_BYTES:
        return bytes(walk, name, at, field->size);
    case QEMU_DEVICE_FIELD_TIMER:
        return walk_timer(walk, name, at);
    case QEMU_DEVICE_FIELD_TIMER_PTR:
        return walk_timer(walk, name, *(QEMUTimer **)at);
    case QEMU_DEVICE_FIELD_STRUCT:
        return walk_description(walk, name, field->vmsd, at);
    default:
        return 0;
    }
}

static int walk_field(struct walk *walk, const char *prefix, const VMStateField *field, void *at)
{
    int error = 0;
    for (int i = 0; error == 0 && i < MAX(field->num, 1); i++) {
        g_autofree char *name = field->num > 0
                                    ? g_strdup_printf("%s.%s[%d]", prefix, field->name, i)
                                    : g_strdup_printf("%s.%s", prefix, field->name);
        error = walk_element(walk, name, field, (char *)at + i * field->size);
    }
    return error;
}

static int check_version(const char *name, const VMStateDescription *description,
                         uint64_t version)
{
    if (version > (uint64_t)description->version_id) {
        return refuse("the state of \"%s\" has version %" PRIu64 ", and this device has version %d",
                      name, version, description->version_id);
    }
    if (version < (uint64_t)description->minimum_version_id) {
        return refuse("the state of \"%s\" has version %" PRIu64 ", and this device takes %d and "
                      "newer",
                      name, version, description->minimum_version_id);
    }
    return 0;
}

/* A subsection is there if it is needed; the other end sees by its version that it is. */
static int walk_subsections(struct walk *walk, const VMStateDescription *description, void *at)
{
    const VMStateDescription *const *section = description->subsections;
    int error = 0;
    for (; error == 0 && section && *section; section++) {
        uint64_t version;
        bool is_there = walk->to ? !(*section)->needed || (*section)->needed(at)
                                 : vfio_user_state_get_number(walk->from, (*section)->name,
                                                              &version) == 0;
        if (is_there) {
            error = walk_description(walk, (*section)->name, *section, at);
        }
    }
    return error;
}

/* What a hook of the device's says. */
static int hook(const char *name, const char *function, int result)
{
    return result == 0 ? 0 : refuse("%s of \"%s\" returned %d", function, name, result);
}

static int walk_fields(struct walk *walk, const char *name, const VMStateDescription *description,
                       void *at, uint64_t version)
{
    int error = 0;
    for (const VMStateField *field = description->fields; error == 0 && field && field->name;
         field++) {
        /* An older state does not have it. */
        if (field->version_id <= (int)version) {
            error = walk_field(walk, name, field, (char *)at + field->offset);
        }
    }
    return error ? error : walk_subsections(walk, description, at);
}

static int walk_description(struct walk *walk, const char *name,
                            const VMStateDescription *description, void *at)
{
    uint64_t version = description->version_id;
    int error = number(walk, name, &version);
    if (error == 0 && walk->from) {
        error = check_version(name, description, version);
    }
    if (error == 0 && walk->to && description->pre_save) {
        error = hook(name, "pre_save", description->pre_save(at));
    }
    if (error == 0 && walk->from && description->pre_load) {
        error = hook(name, "pre_load", description->pre_load(at));
    }
    if (error == 0) {
        error = walk_fields(walk, name, description, at, version);
    }
    if (error == 0 && walk->to && description->post_save) {
        error = hook(name, "post_save", description->post_save(at));
    }
    if (error == 0 && walk->from && description->post_load) {
        error = hook(name, "post_load", description->post_load(at, version));
    }
    return error;
}

/* The bytes of a region and of those inside. */
static int walk_ram(struct walk *walk, const char *prefix, MemoryRegion *region, uint64_t *left)
{
    int error = 0;
    if (region->ram) {
        if (region->size > *left) {
            return refuse("the device has more than %d MiB of memory regions; it cannot be exchanged",
                          (int)(MAX_RAM / MiB));
        }
        *left -= region->size;
        g_autofree char *name = g_strdup_printf("%s:%s", prefix, region->name);
        error = bytes(walk, name, region->ram, region->size);
    }
    int number_of_child = 0;
    for (MemoryRegion *child = region->children; error == 0 && child; child = child->next) {
        g_autofree char *name = g_strdup_printf("%s[%d]", prefix, number_of_child++);
        error = walk_ram(walk, name, child, left);
    }
    return error;
}

static int walk_bars(struct walk *walk, PCIDevice *device)
{
    uint64_t left = MAX_RAM;
    int error = 0;
    for (int i = 0; error == 0 && i < PCI_NUM_REGIONS; i++) {
        MemoryRegion *region = device->io_regions[i].memory;
        if (region) {
            g_autofree char *name = g_strdup_printf("BAR %d", i);
            error = walk_ram(walk, name, region, &left);
        }
    }
    return error;
}

static int walk_device(struct walk *walk, PCIDevice *device, const VMStateDescription *description)
{
    uint64_t intx = device->irq_state;
    int error = number(walk, "INTx", &intx);
    if (error == 0 && walk->from) {
        remember_intx(device, intx != 0);
    }
    if (error == 0) {
        error = walk->to ? save_rand(walk->to) : restore_rand(walk->from);
    }
    error = error ? error : walk_bars(walk, device);
    return error ? error : walk_description(walk, description->name, description, device);
}

/* What says the state of a device, if it has said that it has one. */
static const VMStateDescription *description_of(PCIDevice *device)
{
    const VMStateDescription *description = DEVICE_GET_CLASS(device)->vmsd;
    return description && !description->unmigratable ? description : NULL;
}

int save_device(PCIDevice *device, struct vfio_user_state *state)
{
    const VMStateDescription *description = description_of(device);
    struct walk walk = { .to = state };
    return description ? walk_device(&walk, device, description) : -EOPNOTSUPP;
}

int restore_device(PCIDevice *device, const struct vfio_user_state *state)
{
    const VMStateDescription *description = description_of(device);
    struct walk walk = { .from = state };
    return description ? walk_device(&walk, device, description)
                       : refuse("the new device does not declare its state: set vmsd of its class");
}
