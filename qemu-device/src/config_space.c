/*
 * Configuration space while the device works. The server keeps it; the device may have functions that
 * are asked before, and `config` has what the guest finds in the header.
 */
#include "internal.h"

/* The driver's accesses are no longer. */
#define MAX_LENGTH 4

struct access {
    PCIDevice *device;
    uint32_t address;
    uint32_t data;
    int length;
};

static bool is_inside(uint32_t address, int length)
{
    return length >= 1 && length <= MAX_LENGTH && address <= PCI_CONFIG_SPACE_SIZE - length;
}

void refresh_header(PCIDevice *device, struct vfio_user_bus *bus)
{
    vfio_user_config_read(bus, 0, device->config, PCI_CAPABILITY_LIST);
}

static void read_from_server(struct vfio_user_bus *bus, void *argument)
{
    struct access *access = argument;
    uint8_t *data = &access->device->config[access->address];
    uint8_t bytes[MAX_LENGTH];
    if (bus) {
        vfio_user_config_read(bus, access->address, bytes, access->length);
        data = bytes;
    }
    access->data = ldn_le_p(data, access->length);
}

static void write_to_server(struct vfio_user_bus *bus, void *argument)
{
    struct access *access = argument;
    uint8_t bytes[MAX_LENGTH];
    if (bus) {
        stn_le_p(bytes, access->length, access->data);
        vfio_user_config_write(bus, access->address, bytes, access->length);
        refresh_header(access->device, bus);
    }
}

uint32_t pci_default_read_config(PCIDevice *device, uint32_t address, int length)
{
    struct access access = { .device = device, .address = address, .length = length };
    if (is_inside(address, length)) {
        with_bus(read_from_server, &access);
    }
    return access.data;
}

void pci_default_write_config(PCIDevice *device, uint32_t address, uint32_t data, int length)
{
    struct access access = { device, address, data, length };
    if (is_inside(address, length)) {
        with_bus(write_to_server, &access);
    }
}

/* Bytes of the next piece of an access: 4, 2 or 1, within a word of configuration space. */
static int piece_of(uint32_t address, size_t left)
{
    int piece = MAX_LENGTH;
    while (piece > left || address % piece != 0) {
        piece /= 2;
    }
    return piece;
}

void config_space_read(PCIDevice *device, uint32_t address, uint8_t *data, size_t length)
{
    if (device->config_read == pci_default_read_config) {
        return;
    }
    for (size_t done = 0; done < length;) {
        int piece = piece_of(address + done, length - done);
        stn_le_p(&data[done], piece, device->config_read(device, address + done, piece));
        done += piece;
    }
}

void config_space_write(PCIDevice *device, uint32_t address, const uint8_t *data, size_t length)
{
    for (size_t done = 0; done < length;) {
        int piece = piece_of(address + done, length - done);
        device->config_write(device, address + done, ldn_le_p(&data[done], piece), piece);
        done += piece;
    }
}
