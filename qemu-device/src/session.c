/* The server's callbacks, each of which runs under the big lock. */
#include "internal.h"

static uint64_t on_read(void *opaque, struct vfio_user_bus *bus, uint32_t bar, uint64_t offset,
                        uint32_t width)
{
    PCIDevice *device = opaque;
    callback_begins(bus);
    uint64_t value = region_read(device->io_regions[bar].memory, offset, width);
    callback_ends(bus);
    return value;
}

static void on_write(void *opaque, struct vfio_user_bus *bus, uint32_t bar, uint64_t offset,
                     uint32_t width, uint64_t value)
{
    PCIDevice *device = opaque;
    callback_begins(bus);
    region_write(device->io_regions[bar].memory, offset, width, value);
    callback_ends(bus);
}

static void on_config_read(void *opaque, struct vfio_user_bus *bus, uint32_t offset, void *data,
                           size_t length)
{
    callback_begins(bus);
    config_space_read(opaque, offset, data, length);
    callback_ends(bus);
}

static void on_config_write(void *opaque, struct vfio_user_bus *bus, uint32_t offset,
                            const void *data, size_t length)
{
    callback_begins(bus);
    config_space_write(opaque, offset, data, length);
    callback_ends(bus);
}

static void on_reset(void *opaque, struct vfio_user_bus *bus)
{
    callback_begins(bus);
    timers_are_disarmed();
    refresh_header(opaque, bus);
    pci_set_irq(opaque, 0);
    device_cold_reset(opaque);
    callback_ends(bus);
}

static void on_timer(void *opaque, struct vfio_user_bus *bus, uint32_t id)
{
    callback_begins(bus);
    run_timers();
    callback_ends(bus);
}

static void on_wake(void *opaque, struct vfio_user_bus *bus)
{
    callback_begins(bus);
    run_bottom_halves();
    callback_ends(bus);
}

static void on_dma_done(void *opaque, struct vfio_user_bus *bus, uint64_t tag, int error,
                        const void *data, size_t length)
{
    /* The device's own are done at once: these are what dma.c asks for. */
}

static void on_disconnect(void *opaque, struct vfio_user_bus *bus)
{
    callback_begins(bus);
    client_is_gone();
    forget_memory();
    refresh_header(opaque, bus);
    callback_ends(bus);
}

/* How long a thread of the device may hold the big lock when the state is asked for. */
#define REST_MS 200
/* A field of the state: whether a client is connected. */
#define CONNECTED "connected"

static int on_save(void *opaque, struct vfio_user_state *state)
{
    if (!rest_begins(REST_MS)) {
        return vfio_user_error(EBUSY, "a thread of the device holds the big lock");
    }
    callback_is_watched(true);
    int error = save_device(opaque, state);
    callback_is_watched(false);
    bool is_connected = rest_ends();
    retain_lock(is_kept && error == 0 ? UNTIL_SAVE : NOT_RETAINED);
    return error ? error : vfio_user_state_put_number(state, CONNECTED, is_connected);
}

static int on_restore(void *opaque, struct vfio_user_bus *bus,
                      const struct vfio_user_state *state)
{
    uint64_t is_connected = 0;
    callback_begins(bus);
    int error = vfio_user_state_get_number(state, CONNECTED, &is_connected);
    refresh_header(opaque, bus);
    error = error ? error : restore_device(opaque, state);
    if (!is_connected) {
        client_is_gone();
    }
    retain_lock(is_kept ? UNTIL_CALLBACK : NOT_RETAINED);
    callback_ends(bus);
    retain_lock(NOT_RETAINED);
    return error;
}

const struct vfio_user_ops session_ops = {
    .struct_size = sizeof(session_ops),
    .read = on_read,
    .write = on_write,
    .reset = on_reset,
    .timer = on_timer,
    .dma_done = on_dma_done,
    .wake = on_wake,
    .disconnect = on_disconnect,
    .save = on_save,
    .restore = on_restore,
    .config_read = on_config_read,
    .config_write = on_config_write,
};
