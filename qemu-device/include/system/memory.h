/* Memory regions: what answers the accesses to a BAR. */
#ifndef SYSTEM_MEMORY_H
#define SYSTEM_MEMORY_H

#include "exec/hwaddr.h"
#include "exec/memattrs.h"
#include "qemu/bswap.h"
#include "qemu/osdep.h"
#include "qom/object.h"

#define TYPE_MEMORY_REGION "memory-region"

enum device_endian {
    DEVICE_NATIVE_ENDIAN,
    DEVICE_BIG_ENDIAN,
    DEVICE_LITTLE_ENDIAN,
};

struct MemoryRegionOps {
    uint64_t (*read)(void *opaque, hwaddr address, unsigned size);
    void (*write)(void *opaque, hwaddr address, uint64_t data, unsigned size);
    MemTxResult (*read_with_attrs)(void *opaque, hwaddr address, uint64_t *data, unsigned size,
                                   MemTxAttrs attrs);
    MemTxResult (*write_with_attrs)(void *opaque, hwaddr address, uint64_t data, unsigned size,
                                    MemTxAttrs attrs);
    enum device_endian endianness;
    /* What the guest may do; the rest reads as 0 and is not written. */
    struct {
        unsigned min_access_size;
        unsigned max_access_size;
        bool unaligned;
        bool (*accepts)(void *opaque, hwaddr address, unsigned size, bool is_write,
                        MemTxAttrs attrs);
    } valid;
    /* What the functions above take: 1 to 4 bytes unless said otherwise. */
    struct {
        unsigned min_access_size;
        unsigned max_access_size;
        bool unaligned;
    } impl;
};

struct MemoryRegion {
    Object parent_obj;
    const MemoryRegionOps *ops;
    void *opaque;
    const char *name;
    Object *owner;
    uint64_t size;
    /* Bytes that the guest reads and writes without a callback. */
    uint8_t *ram;
    bool ram_is_own;
    bool readonly;
    bool enabled;
    MemoryRegion *alias;
    hwaddr alias_offset;
    MemoryRegion *container;
    hwaddr addr;
    int priority;
    /* The regions inside, those of higher priority first. */
    MemoryRegion *children;
    MemoryRegion *next;
    struct MemoryRegionEventfd *eventfds;
};

#define MEMORY_REGION(object) ((MemoryRegion *)(object))

void memory_region_init(MemoryRegion *region, Object *owner, const char *name, uint64_t size);
void memory_region_init_io(MemoryRegion *region, Object *owner, const MemoryRegionOps *ops,
                           void *opaque, const char *name, uint64_t size);
bool memory_region_init_ram(MemoryRegion *region, Object *owner, const char *name, uint64_t size,
                            Error **errp);
#define memory_region_init_ram_nomigrate memory_region_init_ram
bool memory_region_init_rom(MemoryRegion *region, Object *owner, const char *name, uint64_t size,
                            Error **errp);
void memory_region_init_ram_ptr(MemoryRegion *region, Object *owner, const char *name,
                                uint64_t size, void *bytes);
void memory_region_init_alias(MemoryRegion *region, Object *owner, const char *name,
                              MemoryRegion *target, hwaddr offset, uint64_t size);
void memory_region_add_subregion(MemoryRegion *container, hwaddr offset, MemoryRegion *region);
void memory_region_add_subregion_overlap(MemoryRegion *container, hwaddr offset,
                                         MemoryRegion *region, int priority);
void memory_region_del_subregion(MemoryRegion *container, MemoryRegion *region);
void memory_region_add_eventfd(MemoryRegion *region, hwaddr address, unsigned size,
                               bool match_data, uint64_t data, EventNotifier *notifier);
void memory_region_del_eventfd(MemoryRegion *region, hwaddr address, unsigned size,
                               bool match_data, uint64_t data, EventNotifier *notifier);

static inline uint64_t memory_region_size(MemoryRegion *region)
{
    return region->size;
}

static inline const char *memory_region_name(const MemoryRegion *region)
{
    return region->name;
}

static inline void *memory_region_get_ram_ptr(MemoryRegion *region)
{
    return region->ram;
}

static inline bool memory_region_is_ram(MemoryRegion *region)
{
    return region->ram != NULL;
}

static inline void memory_region_set_enabled(MemoryRegion *region, bool enabled)
{
    region->enabled = enabled;
}

static inline void memory_region_set_readonly(MemoryRegion *region, bool readonly)
{
    region->readonly = readonly;
}

/* Nothing has to be said here about what changes. */
static inline void memory_region_set_dirty(MemoryRegion *region, hwaddr address, hwaddr size)
{
}

static inline void memory_region_transaction_begin(void)
{
}

static inline void memory_region_transaction_commit(void)
{
}

static inline void memory_region_set_coalescing(MemoryRegion *region)
{
}

static inline void memory_region_clear_flush_coalesced(MemoryRegion *region)
{
}

#endif
