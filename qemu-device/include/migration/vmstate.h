/*
 * The state of a device: what another process needs to take the place of this one while the guest
 * runs, as it would be migrated inside of QEMU.
 *
 *     static const VMStateDescription vmstate = {
 *         .name = "my_rng",
 *         .version_id = 1,
 *         .minimum_version_id = 1,
 *         .fields = (const VMStateField[]) {
 *             VMSTATE_PCI_DEVICE(parent_obj, MyRngState),
 *             VMSTATE_UINT32(seed, MyRngState),
 *             VMSTATE_END_OF_LIST()
 *         },
 *     };
 *     ...
 *     dc->vmsd = &vmstate;
 */
#ifndef MIGRATION_VMSTATE_H
#define MIGRATION_VMSTATE_H

#include "qemu/osdep.h"
#include "qemu/timer.h"

typedef enum {
    MIG_PRI_DEFAULT = 0,
} MigrationPriority;

/* What is at a field's place. */
enum qemu_device_field {
    /* Nothing that has to be kept, or the server keeps it: configuration space, MSI-X. */
    QEMU_DEVICE_FIELD_NONE,
    QEMU_DEVICE_FIELD_NUMBER,
    QEMU_DEVICE_FIELD_BOOL,
    QEMU_DEVICE_FIELD_BYTES,
    QEMU_DEVICE_FIELD_TIMER,
    QEMU_DEVICE_FIELD_TIMER_PTR,
    QEMU_DEVICE_FIELD_STRUCT,
};

struct VMStateField {
    const char *name;
    enum qemu_device_field kind;
    size_t offset;
    /* Bytes of one element. */
    size_t size;
    /* Elements; 0 for a field that is no array. */
    int num;
    const VMStateDescription *vmsd;
    int version_id;
};

struct VMStateDescription {
    const char *name;
    bool unmigratable;
    bool early_setup;
    int version_id;
    int minimum_version_id;
    MigrationPriority priority;
    int (*pre_load)(void *opaque);
    int (*post_load)(void *opaque, int version_id);
    int (*pre_save)(void *opaque);
    int (*post_save)(void *opaque);
    bool (*needed)(void *opaque);
    bool (*dev_unplug_pending)(void *opaque);
    const VMStateField *fields;
    const VMStateDescription *const *subsections;
};

/* The place of a field, which has to have that type. */
#define QEMU_DEVICE_AT(field, state, type) \
    (offsetof(state, field) + \
     0 * sizeof(struct { \
         _Static_assert(__builtin_types_compatible_p(type, __typeof__(((state *)0)->field)), \
                        "the field \"" #field "\" has another type than its VMSTATE_ macro"); \
         int unused; \
     }))

#define QEMU_DEVICE_FIELD(which, field, state, version, type) \
    { \
        .name = #field, .kind = QEMU_DEVICE_FIELD_##which, \
        .offset = QEMU_DEVICE_AT(field, state, type), .size = sizeof(type), \
        .version_id = (version), \
    }
#define QEMU_DEVICE_ARRAY(which, field, state, count, version, type) \
    { \
        .name = #field, .kind = QEMU_DEVICE_FIELD_##which, \
        .offset = QEMU_DEVICE_AT(field, state, type[count]), .size = sizeof(type), \
        .num = (count), .version_id = (version), \
    }
#define QEMU_DEVICE_BYTES(field, state, version, length) \
    { \
        .name = #field, .kind = QEMU_DEVICE_FIELD_BYTES, .offset = offsetof(state, field), \
        .size = (length), .version_id = (version), \
    }

#define VMSTATE_BOOL_V(f, s, v) QEMU_DEVICE_FIELD(BOOL, f, s, v, bool)
#define VMSTATE_INT8_V(f, s, v) QEMU_DEVICE_FIELD(NUMBER, f, s, v, int8_t)
#define VMSTATE_INT16_V(f, s, v) QEMU_DEVICE_FIELD(NUMBER, f, s, v, int16_t)
#define VMSTATE_INT32_V(f, s, v) QEMU_DEVICE_FIELD(NUMBER, f, s, v, int32_t)
#define VMSTATE_INT64_V(f, s, v) QEMU_DEVICE_FIELD(NUMBER, f, s, v, int64_t)
#define VMSTATE_UINT8_V(f, s, v) QEMU_DEVICE_FIELD(NUMBER, f, s, v, uint8_t)
#define VMSTATE_UINT16_V(f, s, v) QEMU_DEVICE_FIELD(NUMBER, f, s, v, uint16_t)
#define VMSTATE_UINT32_V(f, s, v) QEMU_DEVICE_FIELD(NUMBER, f, s, v, uint32_t)
#define VMSTATE_UINT64_V(f, s, v) QEMU_DEVICE_FIELD(NUMBER, f, s, v, uint64_t)
#define VMSTATE_BOOL(f, s) VMSTATE_BOOL_V(f, s, 0)
#define VMSTATE_INT8(f, s) VMSTATE_INT8_V(f, s, 0)
#define VMSTATE_INT16(f, s) VMSTATE_INT16_V(f, s, 0)
#define VMSTATE_INT32(f, s) VMSTATE_INT32_V(f, s, 0)
#define VMSTATE_INT64(f, s) VMSTATE_INT64_V(f, s, 0)
#define VMSTATE_UINT8(f, s) VMSTATE_UINT8_V(f, s, 0)
#define VMSTATE_UINT16(f, s) VMSTATE_UINT16_V(f, s, 0)
#define VMSTATE_UINT32(f, s) VMSTATE_UINT32_V(f, s, 0)
#define VMSTATE_UINT64(f, s) VMSTATE_UINT64_V(f, s, 0)

#define VMSTATE_BOOL_ARRAY_V(f, s, n, v) QEMU_DEVICE_ARRAY(BOOL, f, s, n, v, bool)
#define VMSTATE_INT16_ARRAY_V(f, s, n, v) QEMU_DEVICE_ARRAY(NUMBER, f, s, n, v, int16_t)
#define VMSTATE_INT32_ARRAY_V(f, s, n, v) QEMU_DEVICE_ARRAY(NUMBER, f, s, n, v, int32_t)
#define VMSTATE_INT64_ARRAY_V(f, s, n, v) QEMU_DEVICE_ARRAY(NUMBER, f, s, n, v, int64_t)
#define VMSTATE_UINT8_ARRAY_V(f, s, n, v) QEMU_DEVICE_ARRAY(NUMBER, f, s, n, v, uint8_t)
#define VMSTATE_UINT16_ARRAY_V(f, s, n, v) QEMU_DEVICE_ARRAY(NUMBER, f, s, n, v, uint16_t)
#define VMSTATE_UINT32_ARRAY_V(f, s, n, v) QEMU_DEVICE_ARRAY(NUMBER, f, s, n, v, uint32_t)
#define VMSTATE_UINT64_ARRAY_V(f, s, n, v) QEMU_DEVICE_ARRAY(NUMBER, f, s, n, v, uint64_t)
#define VMSTATE_BOOL_ARRAY(f, s, n) VMSTATE_BOOL_ARRAY_V(f, s, n, 0)
#define VMSTATE_INT16_ARRAY(f, s, n) VMSTATE_INT16_ARRAY_V(f, s, n, 0)
#define VMSTATE_INT32_ARRAY(f, s, n) VMSTATE_INT32_ARRAY_V(f, s, n, 0)
#define VMSTATE_INT64_ARRAY(f, s, n) VMSTATE_INT64_ARRAY_V(f, s, n, 0)
#define VMSTATE_UINT8_ARRAY(f, s, n) VMSTATE_UINT8_ARRAY_V(f, s, n, 0)
#define VMSTATE_UINT16_ARRAY(f, s, n) VMSTATE_UINT16_ARRAY_V(f, s, n, 0)
#define VMSTATE_UINT32_ARRAY(f, s, n) VMSTATE_UINT32_ARRAY_V(f, s, n, 0)
#define VMSTATE_UINT64_ARRAY(f, s, n) VMSTATE_UINT64_ARRAY_V(f, s, n, 0)

/* An array of bytes, of any type. */
#define VMSTATE_BUFFER_V(f, s, v) QEMU_DEVICE_BYTES(f, s, v, sizeof(((s *)0)->f))
#define VMSTATE_BUFFER(f, s) VMSTATE_BUFFER_V(f, s, 0)
#define VMSTATE_BUFFER_UNSAFE(f, s, v, n) QEMU_DEVICE_BYTES(f, s, v, n)
/* A field of another type, whose description is not looked at. */
#define VMSTATE_SINGLE(f, s, v, description, type) QEMU_DEVICE_BYTES(f, s, v, sizeof(type))

/* The time that a timer has left. */
#define VMSTATE_TIMER_V(f, s, v) QEMU_DEVICE_FIELD(TIMER, f, s, v, QEMUTimer)
#define VMSTATE_TIMER(f, s) VMSTATE_TIMER_V(f, s, 0)
#define VMSTATE_TIMER_PTR_V(f, s, v) QEMU_DEVICE_FIELD(TIMER_PTR, f, s, v, QEMUTimer *)
#define VMSTATE_TIMER_PTR(f, s) VMSTATE_TIMER_PTR_V(f, s, 0)

#define VMSTATE_STRUCT(f, s, v, description, type) \
    { \
        .name = #f, .kind = QEMU_DEVICE_FIELD_STRUCT, .offset = QEMU_DEVICE_AT(f, s, type), \
        .size = sizeof(type), .vmsd = &(description), .version_id = (v), \
    }
#define VMSTATE_STRUCT_ARRAY(f, s, n, v, description, type) \
    { \
        .name = #f, .kind = QEMU_DEVICE_FIELD_STRUCT, .offset = QEMU_DEVICE_AT(f, s, type[n]), \
        .size = sizeof(type), .num = (n), .vmsd = &(description), .version_id = (v), \
    }

#define VMSTATE_PCI_DEVICE(f, s) { .name = #f, .offset = offsetof(s, f) }
#define VMSTATE_PCIE_DEVICE(f, s) VMSTATE_PCI_DEVICE(f, s)
#define VMSTATE_MSIX(f, s) VMSTATE_PCI_DEVICE(f, s)
#define VMSTATE_UNUSED_V(version, size) { .name = "unused", .version_id = (version) }
#define VMSTATE_UNUSED(size) VMSTATE_UNUSED_V(0, size)
#define VMSTATE_END_OF_LIST() { .name = NULL }

extern const VMStateDescription vmstate_pci_device;

#endif
