/*
 * Guest memory, at the addresses that a driver gives to its device.
 *
 * It is read and written at once, so it has to be shared with this process: QEMU needs share=on.
 */
#ifndef SYSTEM_DMA_H
#define SYSTEM_DMA_H

#include "exec/hwaddr.h"
#include "exec/memattrs.h"
#include "qemu/bswap.h"
#include "qemu/osdep.h"

typedef enum {
    DMA_DIRECTION_TO_DEVICE = 0,
    DMA_DIRECTION_FROM_DEVICE = 1,
} DMADirection;

struct AddressSpace {
    const char *name;
};

/* What the device reaches. There is no other memory than that. */
extern AddressSpace address_space_memory;

MemTxResult dma_memory_rw(AddressSpace *space, dma_addr_t address, void *buffer,
                          dma_addr_t length, DMADirection direction, MemTxAttrs attrs);
MemTxResult dma_memory_set(AddressSpace *space, dma_addr_t address, uint8_t value,
                           dma_addr_t length, MemTxAttrs attrs);

static inline MemTxResult dma_memory_read(AddressSpace *space, dma_addr_t address, void *buffer,
                                          dma_addr_t length, MemTxAttrs attrs)
{
    return dma_memory_rw(space, address, buffer, length, DMA_DIRECTION_TO_DEVICE, attrs);
}

static inline MemTxResult dma_memory_write(AddressSpace *space, dma_addr_t address,
                                           const void *buffer, dma_addr_t length,
                                           MemTxAttrs attrs)
{
    return dma_memory_rw(space, address, (void *)buffer, length, DMA_DIRECTION_FROM_DEVICE,
                         attrs);
}

static inline MemTxResult address_space_rw(AddressSpace *space, hwaddr address,
                                           MemTxAttrs attrs, void *buffer, hwaddr length,
                                           bool is_write)
{
    return dma_memory_rw(space, address, buffer, length,
                         is_write ? DMA_DIRECTION_FROM_DEVICE : DMA_DIRECTION_TO_DEVICE, attrs);
}

static inline MemTxResult address_space_read(AddressSpace *space, hwaddr address,
                                             MemTxAttrs attrs, void *buffer, hwaddr length)
{
    return dma_memory_read(space, address, buffer, length, attrs);
}

static inline MemTxResult address_space_write(AddressSpace *space, hwaddr address,
                                              MemTxAttrs attrs, const void *buffer,
                                              hwaddr length)
{
    return dma_memory_write(space, address, buffer, length, attrs);
}

/* What cannot be read is zeros, as the functions have no result. */
static inline void cpu_physical_memory_read(hwaddr address, void *buffer, hwaddr length)
{
    dma_memory_read(&address_space_memory, address, buffer, length, MEMTXATTRS_UNSPECIFIED);
}

static inline void cpu_physical_memory_write(hwaddr address, const void *buffer, hwaddr length)
{
    dma_memory_write(&address_space_memory, address, buffer, length, MEMTXATTRS_UNSPECIFIED);
}

static inline void cpu_physical_memory_rw(hwaddr address, void *buffer, hwaddr length,
                                          bool is_write)
{
    address_space_rw(&address_space_memory, address, MEMTXATTRS_UNSPECIFIED, buffer, length,
                     is_write);
}

/* Single values: ldl_le_dma(), stq_be_dma() and so on. */
#define QEMU_DEVICE_DMA_VALUE(read_name, write_name, type, from, to) \
    static inline MemTxResult read_name(AddressSpace *space, dma_addr_t address, type *value, \
                                        MemTxAttrs attrs) \
    { \
        MemTxResult result = dma_memory_read(space, address, value, sizeof(type), attrs); \
        *value = from(*value); \
        return result; \
    } \
    static inline MemTxResult write_name(AddressSpace *space, dma_addr_t address, type value, \
                                         MemTxAttrs attrs) \
    { \
        value = to(value); \
        return dma_memory_write(space, address, &value, sizeof(type), attrs); \
    }

QEMU_DEVICE_DMA_VALUE(ldub_dma, stb_dma, uint8_t, QEMU_DEVICE_SAME, QEMU_DEVICE_SAME)
QEMU_DEVICE_DMA_VALUE(lduw_le_dma, stw_le_dma, uint16_t, le16toh, htole16)
QEMU_DEVICE_DMA_VALUE(ldl_le_dma, stl_le_dma, uint32_t, le32toh, htole32)
QEMU_DEVICE_DMA_VALUE(ldq_le_dma, stq_le_dma, uint64_t, le64toh, htole64)
QEMU_DEVICE_DMA_VALUE(lduw_be_dma, stw_be_dma, uint16_t, be16toh, htobe16)
QEMU_DEVICE_DMA_VALUE(ldl_be_dma, stl_be_dma, uint32_t, be32toh, htobe32)
QEMU_DEVICE_DMA_VALUE(ldq_be_dma, stq_be_dma, uint64_t, be64toh, htobe64)

void *dma_memory_map(AddressSpace *space, dma_addr_t address, dma_addr_t *length,
                     DMADirection direction, MemTxAttrs attrs)
    QEMU_DEVICE_NOT_OFFERED("guest memory cannot be mapped by a device in a process of its own; "
                            "copy it with dma_memory_read() and dma_memory_write()");
void *cpu_physical_memory_map(hwaddr address, hwaddr *length, bool is_write)
    QEMU_DEVICE_NOT_OFFERED("guest memory cannot be mapped by a device in a process of its own; "
                            "copy it with pci_dma_read() and pci_dma_write()");

#endif
