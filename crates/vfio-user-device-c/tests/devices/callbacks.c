/*
 * Uses every function of vfio_user_device.h. The guest writes what is to be done to COMMAND, and
 * reads how it ended from RESULT; LOG holds one letter a callback, the last in the low byte.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <vfio_user_device.h>

#define COMMAND 0x0
#define RESULT 0x4
#define LOG 0x8
#define ADDRESS 0x10
#define STATE 0x18

struct device {
    uint64_t log;
    uint64_t address;
    int result;
    struct vfio_user_waker *waker;
};

static void note(struct device *device, char letter)
{
    device->log = device->log << 8 | (uint8_t)letter;
}

static void *wake_it(void *opaque)
{
    struct device *device = opaque;
    usleep(1000);
    vfio_user_waker_wake(device->waker);
    return NULL;
}

static uint64_t on_read(void *opaque, struct vfio_user_bus *bus, uint32_t bar, uint64_t offset,
                        uint32_t width)
{
    struct device *device = opaque;
    (void)bar, (void)width;
    switch (offset) {
    case RESULT:
        return (uint32_t)device->result;
    case LOG:
        return device->log;
    case ADDRESS:
        return device->address;
    case STATE:
        return (uint64_t)vfio_user_msi_enabled(bus) << 8 | (uint64_t)vfio_user_msix_enabled(bus);
    default:
        return 0;
    }
}

static void command(struct device *device, struct vfio_user_bus *bus, uint64_t what)
{
    uint32_t number = 0x11223344;
    pthread_t thread;

    device->result = 0;
    switch (what) {
    case 'r':
        device->result = vfio_user_dma_read(bus, device->address, 4, 'r');
        break;
    case 'w':
        device->result = vfio_user_dma_write(bus, device->address, &number, 4, 'w');
        break;
    case 'R':
        device->result = vfio_user_memory_read(bus, device->address, &number, 4);
        device->result = device->result ? device->result : (int)number;
        break;
    case 'W':
        device->result = vfio_user_memory_write(bus, device->address, &number, 4);
        break;
    case 'c':
        vfio_user_dma_read(bus, device->address, 4, 'X');
        vfio_user_dma_cancel(bus);
        break;
    case 't':
        vfio_user_set_timer(bus, 't', 1000);
        vfio_user_set_timer(bus, 'X', 1000);
        vfio_user_cancel_timer(bus, 'X');
        break;
    case 'k':
        vfio_user_wait_for(bus, device->waker);
        pthread_create(&thread, NULL, wake_it, device);
        pthread_detach(thread);
        break;
    case 'i':
        vfio_user_set_intx(bus, 1);
        break;
    case 'I':
        vfio_user_set_intx(bus, 0);
        break;
    case 'm':
        vfio_user_signal_vector(bus, 1);
        break;
    case 'l':
        vfio_user_log(VFIO_USER_LOG_WARN, "a line of the device");
        break;
    }
    if (device->result < 0) {
        vfio_user_log(VFIO_USER_LOG_WARN, vfio_user_last_error());
    }
}

static void on_write(void *opaque, struct vfio_user_bus *bus, uint32_t bar, uint64_t offset,
                     uint32_t width, uint64_t value)
{
    struct device *device = opaque;
    (void)bar, (void)width;
    if (offset == COMMAND) {
        command(device, bus, value);
    } else if (offset == ADDRESS) {
        device->address = value;
    }
}

static void on_reset(void *opaque, struct vfio_user_bus *bus)
{
    struct device *device = opaque;
    (void)bus;
    device->log = 'z';
}

static void on_timer(void *opaque, struct vfio_user_bus *bus, uint32_t id)
{
    (void)bus;
    note(opaque, (char)id);
}

static void on_dma_done(void *opaque, struct vfio_user_bus *bus, uint64_t tag, int error,
                        const void *data, size_t length)
{
    struct device *device = opaque;
    (void)bus;
    device->result = error;
    if (error == 0 && length == 4) {
        memcpy(&device->result, data, length);
    }
    note(device, (char)tag);
}

static void on_wake(void *opaque, struct vfio_user_bus *bus)
{
    (void)bus;
    note(opaque, 'k');
}

static void on_disconnect(void *opaque, struct vfio_user_bus *bus)
{
    (void)bus;
    note(opaque, 'd');
}

static int on_save(void *opaque, struct vfio_user_state *state)
{
    struct device *device = opaque;
    int error = vfio_user_state_put_number(state, "log", device->log);
    if (device->address == 'b') {
        return vfio_user_error(EBUSY, "the device is busy");
    }
    if (error || vfio_user_state_put_number(state, "log", 0) != -EEXIST) {
        return -1;
    }
    return vfio_user_state_put_bytes(state, "address", &device->address, 8);
}

static int on_restore(void *opaque, struct vfio_user_bus *bus,
                      const struct vfio_user_state *state)
{
    struct device *device = opaque;
    uint64_t number;
    int error = vfio_user_state_get_number(state, "log", &device->log);
    if (error || vfio_user_state_get_number(state, "address", &number) != -EINVAL ||
        vfio_user_state_get_bytes(state, "address", &number, 7) != -EINVAL ||
        vfio_user_state_get_bytes(state, "other", &number, 7) != -ENOENT) {
        return -1;
    }
    vfio_user_wait_for(bus, device->waker);
    vfio_user_waker_wake(device->waker);
    return vfio_user_state_get_bytes(state, "address", &device->address, 8);
}

/* With --socket-path PATH by the library's main; with --loop PATH until standard input ends. */
int main(int argc, char **argv)
{
    static const uint8_t body[] = { 6, 'h', 'i', 0 };
    static const struct vfio_user_capability vendor = { 0x09, sizeof(body), { 0 }, body };
    static struct device device;
    struct vfio_user_config config = { sizeof(config), 0x1234, 0x00c0, 0x5678, 0x0001 };
    struct vfio_user_ops ops = { sizeof(ops), on_read,     on_write, on_reset,
                                 on_timer,    on_dma_done, on_wake,  on_disconnect,
                                 on_save,     on_restore };

    config.class_code = 0x088000;
    config.revision = 3;
    config.intx = 1;
    config.msi_vectors = 2;
    config.msix = (struct vfio_user_msix){ 2, 2, 0, 0, 0x800 };
    config.bars[0] = (struct vfio_user_bar){ 256, VFIO_USER_BAR_MEMORY32, 0, 8, 0 };
    config.bars[2] = (struct vfio_user_bar){ 4096, VFIO_USER_BAR_MEMORY64, 1, 0, 0 };
    config.bars[4] = (struct vfio_user_bar){ 32, VFIO_USER_BAR_IO, 0, 1, 0 };
    config.capabilities = &vendor;
    config.capability_count = 1;
    device.waker = vfio_user_waker_new();
    if (argc == 3 && strcmp(argv[1], "--loop") == 0) {
        int result = vfio_user_serve(argv[2], STDIN_FILENO, &config, &ops, &device);
        fprintf(stderr, "ended with %d: %s\n", result, result < 0 ? vfio_user_last_error() : "");
        return result != 0;
    }
    int status = vfio_user_main(argc, argv, &config, &ops, &device);
    vfio_user_waker_free(device.waker);
    return status;
}
