/*
 * How an access to a BAR reaches a region's functions.
 *
 * It is taken apart and made wider as QEMU's memory core does for an access of a guest:
 *  1. into pieces that are no longer than `valid.max_access_size` (4 if that is 0) and, unless
 *     `impl.unaligned`, naturally aligned;
 *  2. a piece that `valid` does not allow reads as 0 and is not written;
 *  3. into calls of a size between `impl.min_access_size` (1 if 0) and `impl.max_access_size`
 *     (4 if 0). A call that is wider than its piece has the piece's address and lends its low bytes.
 */
#include "internal.h"
#include "qemu/event_notifier.h"

struct MemoryRegionEventfd {
    hwaddr address;
    unsigned size;
    bool match_data;
    uint64_t data;
    EventNotifier *notifier;
    struct MemoryRegionEventfd *next;
};

/* A region that answers, and an address in it. */
struct place {
    MemoryRegion *region;
    hwaddr address;
};

static uint64_t mask_of(unsigned size)
{
    return MAKE_64BIT_MASK(0, 8 * size);
}

/* The region of highest priority that answers an address in another one, if any. */
static struct place find(MemoryRegion *region, hwaddr address)
{
    struct place none = { NULL, 0 };
    if (!region->enabled || address >= region->size) {
        return none;
    }
    for (MemoryRegion *child = region->children; child; child = child->next) {
        if (address >= child->addr) {
            struct place place = find(child, address - child->addr);
            if (place.region) {
                return place;
            }
        }
    }
    if (region->alias) {
        return find(region->alias, region->alias_offset + address);
    }
    return region->ops || region->ram ? (struct place){ region, address } : none;
}

/* Bytes of the next piece of an access, a power of two. */
static unsigned piece_of(const struct place *place, unsigned size)
{
    const MemoryRegionOps *ops = place->region ? place->region->ops : NULL;
    if (!ops) {
        return 1;
    }
    unsigned max = ops->valid.max_access_size ? ops->valid.max_access_size : 4;
    if (!ops->impl.unaligned && place->address != 0) {
        hwaddr alignment = place->address & -place->address;
        max = MIN((hwaddr)max, alignment);
    }
    return pow2floor(MIN(size, max));
}

static bool is_valid(const struct place *place, unsigned size, bool is_write)
{
    const MemoryRegionOps *ops = place->region->ops;
    const char *reason = NULL;
    unsigned max = ops->valid.max_access_size;
    if (ops->valid.accepts && !ops->valid.accepts(place->region->opaque, place->address, size,
                                                  is_write, MEMTXATTRS_UNSPECIFIED)) {
        reason = "not accepted";
    } else if (!ops->valid.unaligned && (place->address & (size - 1)) != 0) {
        reason = "not aligned";
    } else if (max != 0 && (size > max || size < ops->valid.min_access_size)) {
        reason = "invalid size";
    }
    if (reason) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s of %u bytes at 0x%" PRIx64 " of region \"%s\": %s",
                      is_write ? "write" : "read", size, place->address, place->region->name,
                      reason);
    }
    return !reason;
}

/* Bytes of each call for a piece. */
static unsigned call_size(const MemoryRegionOps *ops, unsigned size)
{
    unsigned min = ops->impl.min_access_size ? ops->impl.min_access_size : 1;
    unsigned max = ops->impl.max_access_size ? ops->impl.max_access_size : 4;
    return MAX(MIN(size, max), min);
}

/* Where in a piece's value the bytes of the call at `offset` are; below 0 for a wider call. */
static int shift_of(const MemoryRegionOps *ops, unsigned size, unsigned call, unsigned offset)
{
    int shift = 8 * (int)offset;
    return ops->endianness == DEVICE_BIG_ENDIAN ? 8 * ((int)size - (int)call) - shift : shift;
}

static uint64_t swapped(const MemoryRegionOps *ops, uint64_t value, unsigned size)
{
    if (ops->endianness != DEVICE_BIG_ENDIAN) {
        return value;
    }
    return bswap64(value) >> (64 - 8 * size);
}

static void lacks(const MemoryRegion *region, const char *function)
{
    error_report("region \"%s\" has no %s function; set .%s in its MemoryRegionOps", region->name,
                 function, function);
}

static uint64_t call_read(const struct place *place, hwaddr address, unsigned size)
{
    const MemoryRegionOps *ops = place->region->ops;
    void *opaque = place->region->opaque;
    uint64_t value = 0;
    if (ops->read) {
        value = ops->read(opaque, address, size);
    } else if (ops->read_with_attrs) {
        ops->read_with_attrs(opaque, address, &value, size, MEMTXATTRS_UNSPECIFIED);
    } else {
        lacks(place->region, "read");
    }
    return value;
}

static void call_write(const struct place *place, hwaddr address, uint64_t value, unsigned size)
{
    const MemoryRegionOps *ops = place->region->ops;
    void *opaque = place->region->opaque;
    if (ops->write) {
        ops->write(opaque, address, value, size);
    } else if (ops->write_with_attrs) {
        ops->write_with_attrs(opaque, address, value, size, MEMTXATTRS_UNSPECIFIED);
    } else {
        lacks(place->region, "write");
    }
}

static uint64_t read_piece(const struct place *place, unsigned size)
{
    const MemoryRegionOps *ops = place->region->ops;
    if (!is_valid(place, size, false)) {
        return 0;
    }
    unsigned call = call_size(ops, size);
    uint64_t value = 0;
    for (unsigned offset = 0; offset < size; offset += call) {
        uint64_t part = call_read(place, place->address + offset, call) & mask_of(call);
        int shift = shift_of(ops, size, call, offset);
        value |= shift < 0 ? part >> -shift : part << shift;
    }
    return swapped(ops, value & mask_of(size), size);
}

/* Writes that an eventfd waits for do not reach the device. One without a size waits for any write. */
static bool signal_eventfd(const struct place *place, unsigned size, uint64_t value)
{
    struct MemoryRegionEventfd *e = place->region->eventfds;
    for (; e; e = e->next) {
        bool matches = e->size == size && (!e->match_data || e->data == value);
        if (e->address == place->address && (e->size == 0 || matches)) {
            event_notifier_set(e->notifier);
            return true;
        }
    }
    return false;
}

static void write_piece(const struct place *place, unsigned size, uint64_t value)
{
    const MemoryRegionOps *ops = place->region->ops;
    if (!is_valid(place, size, true)) {
        return;
    }
    value = swapped(ops, value & mask_of(size), size);
    if (signal_eventfd(place, size, value)) {
        return;
    }
    unsigned call = call_size(ops, size);
    for (unsigned offset = 0; offset < size; offset += call) {
        int shift = shift_of(ops, size, call, offset);
        uint64_t part = (shift < 0 ? value << -shift : value >> shift) & mask_of(call);
        call_write(place, place->address + offset, part, call);
    }
}

uint64_t region_read(MemoryRegion *region, hwaddr address, unsigned size)
{
    uint64_t value = 0;
    for (unsigned done = 0; done < size;) {
        struct place place = find(region, address + done);
        unsigned piece = piece_of(&place, size - done);
        uint64_t part = 0;
        if (place.region && place.region->ops) {
            part = read_piece(&place, piece);
        } else if (place.region) {
            part = place.region->ram[place.address];
        }
        value |= part << (8 * done);
        done += piece;
    }
    return value;
}

void region_write(MemoryRegion *region, hwaddr address, unsigned size, uint64_t value)
{
    for (unsigned done = 0; done < size;) {
        struct place place = find(region, address + done);
        unsigned piece = piece_of(&place, size - done);
        uint64_t part = value >> (8 * done);
        if (place.region && place.region->ops) {
            write_piece(&place, piece, part);
        } else if (place.region && !place.region->readonly) {
            place.region->ram[place.address] = part;
        }
        done += piece;
    }
}

void memory_region_add_eventfd(MemoryRegion *region, hwaddr address, unsigned size,
                               bool match_data, uint64_t data, EventNotifier *notifier)
{
    struct MemoryRegionEventfd *e = g_new0(struct MemoryRegionEventfd, 1);
    *e = (struct MemoryRegionEventfd){ address, size, match_data, data, notifier,
                                       region->eventfds };
    region->eventfds = e;
}

void memory_region_del_eventfd(MemoryRegion *region, hwaddr address, unsigned size,
                               bool match_data, uint64_t data, EventNotifier *notifier)
{
    struct MemoryRegionEventfd **place = &region->eventfds;
    for (; *place; place = &(*place)->next) {
        struct MemoryRegionEventfd *e = *place;
        if (e->address == address && e->size == size && e->match_data == match_data &&
            e->data == data && e->notifier == notifier) {
            *place = e->next;
            g_free(e);
            return;
        }
    }
}
