/* Guest memory, which is copied at once. */
#include "internal.h"

AddressSpace address_space_memory = { "memory" };

AddressSpace *pci_get_address_space(PCIDevice *device)
{
    return &address_space_memory;
}

/*
 * QEMU also hands over memory that it has mapped privately itself (share=off), in which the guest's
 * writes never show. The server finds that out by asking QEMU for bytes that it can see itself, which
 * it does for accesses that may wait. So some are made beside the first of the device's own.
 */
#define MAX_QUESTIONS 4
#define QUESTION_LENGTH 4096
static int questions;

void forget_memory(void)
{
    questions = 0;
}

static void ask_about(struct vfio_user_bus *bus, uint64_t address, size_t length)
{
    if (questions < MAX_QUESTIONS) {
        questions++;
        vfio_user_dma_read(bus, address, MIN(length, QUESTION_LENGTH), 0);
    }
}

struct access {
    uint64_t address;
    void *buffer;
    size_t length;
    bool is_write;
    int result;
};

static void carry_out(struct vfio_user_bus *bus, void *argument)
{
    struct access *access = argument;
    if (!bus) {
        access->result = -ENOTCONN;
    } else if (access->is_write) {
        access->result =
            vfio_user_memory_write(bus, access->address, access->buffer, access->length);
    } else {
        access->result =
            vfio_user_memory_read(bus, access->address, access->buffer, access->length);
    }
    if (access->result == 0) {
        ask_about(bus, access->address, access->length);
    } else {
        qemu_log_mask(LOG_GUEST_ERROR, "DMA: %s of %zu bytes at 0x%" PRIx64 ": %s",
                      access->is_write ? "write" : "read", access->length, access->address,
                      bus ? vfio_user_last_error() : "there is no guest");
    }
}

MemTxResult dma_memory_rw(AddressSpace *space, dma_addr_t address, void *buffer,
                          dma_addr_t length, DMADirection direction, MemTxAttrs attrs)
{
    struct access access = {
        .address = address,
        .buffer = buffer,
        .length = length,
        .is_write = direction == DMA_DIRECTION_FROM_DEVICE,
    };
    check_buffer(buffer, length, !access.is_write);
    with_bus(carry_out, &access);
    switch (access.result) {
    case 0:
        return MEMTX_OK;
    case -EFAULT:
    case -EPERM:
        return MEMTX_DECODE_ERROR;
    default:
        return MEMTX_ERROR;
    }
}

MemTxResult dma_memory_set(AddressSpace *space, dma_addr_t address, uint8_t value,
                           dma_addr_t length, MemTxAttrs attrs)
{
    uint8_t bytes[4096];
    memset(bytes, value, sizeof(bytes));
    MemTxResult result = MEMTX_OK;
    while (length > 0 && result == MEMTX_OK) {
        dma_addr_t piece = MIN(length, sizeof(bytes));
        result = dma_memory_write(space, address, bytes, piece, attrs);
        address += piece;
        length -= piece;
    }
    return result;
}
