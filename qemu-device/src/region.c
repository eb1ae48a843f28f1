/* Memory regions: how they are made and put into each other. */
#include "internal.h"

void memory_region_init(MemoryRegion *region, Object *owner, const char *name, uint64_t size)
{
    *region = (MemoryRegion){
        .name = g_strdup(name ? name : "?"), .owner = owner, .size = size, .enabled = true,
    };
}

void memory_region_init_io(MemoryRegion *region, Object *owner, const MemoryRegionOps *ops,
                           void *opaque, const char *name, uint64_t size)
{
    static const MemoryRegionOps none;
    memory_region_init(region, owner, name, size);
    region->ops = ops ? ops : &none;
    region->opaque = opaque;
}

void memory_region_init_ram_ptr(MemoryRegion *region, Object *owner, const char *name,
                                uint64_t size, void *bytes)
{
    memory_region_init(region, owner, name, size);
    region->ram = bytes;
}

bool memory_region_init_ram(MemoryRegion *region, Object *owner, const char *name, uint64_t size,
                            Error **errp)
{
    void *bytes = g_try_malloc0(size);
    if (!bytes) {
        error_setg(errp, "no memory for the %" PRIu64 " bytes of region \"%s\"", size, name);
        return false;
    }
    memory_region_init_ram_ptr(region, owner, name, size, bytes);
    return true;
}

bool memory_region_init_rom(MemoryRegion *region, Object *owner, const char *name, uint64_t size,
                            Error **errp)
{
    bool done = memory_region_init_ram(region, owner, name, size, errp);
    region->readonly = done;
    return done;
}

void memory_region_init_alias(MemoryRegion *region, Object *owner, const char *name,
                              MemoryRegion *target, hwaddr offset, uint64_t size)
{
    memory_region_init(region, owner, name, size);
    region->alias = target;
    region->alias_offset = offset;
}

void memory_region_add_subregion_overlap(MemoryRegion *container, hwaddr offset,
                                         MemoryRegion *region, int priority)
{
    region->container = container;
    region->addr = offset;
    region->priority = priority;
    MemoryRegion **place = &container->children;
    while (*place && (*place)->priority > priority) {
        place = &(*place)->next;
    }
    region->next = *place;
    *place = region;
}

void memory_region_add_subregion(MemoryRegion *container, hwaddr offset, MemoryRegion *region)
{
    memory_region_add_subregion_overlap(container, offset, region, 0);
}

void memory_region_del_subregion(MemoryRegion *container, MemoryRegion *region)
{
    MemoryRegion **place = &container->children;
    while (*place && *place != region) {
        place = &(*place)->next;
    }
    if (*place) {
        *place = region->next;
        region->next = NULL;
        region->container = NULL;
    }
}
