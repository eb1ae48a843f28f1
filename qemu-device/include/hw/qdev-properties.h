/* Properties of a device's class. `--property NAME=VALUE` sets them. */
#ifndef HW_QDEV_PROPERTIES_H
#define HW_QDEV_PROPERTIES_H

#include "hw/qdev-core.h"

typedef struct PropertyInfo {
    const char *type;
    /* Stores a text's value; false when it has none. */
    bool (*parse)(const Property *property, void *field, const char *text);
    /* Bytes of the field, for its default. */
    size_t size;
} PropertyInfo;

struct Property {
    const char *name;
    const PropertyInfo *info;
    ptrdiff_t offset;
    uint8_t bitnr;
    bool set_default;
    union {
        int64_t i;
        uint64_t u;
    } defval;
};

extern const PropertyInfo qdev_prop_bit, qdev_prop_bit64, qdev_prop_bool;
extern const PropertyInfo qdev_prop_uint8, qdev_prop_uint16, qdev_prop_uint32, qdev_prop_uint64;
extern const PropertyInfo qdev_prop_int32, qdev_prop_int64, qdev_prop_size, qdev_prop_string;

#define DEFINE_PROP(name_, state, field, info_, type) \
    { \
        .name = (name_), .info = &(info_), \
        .offset = offsetof(state, field) + \
                  sizeof((type *)0 - &((state *)0)->field) * 0, \
    }
#define DEFINE_PROP_VALUE(name_, state, field, default_, info_, type, member) \
    { \
        .name = (name_), .info = &(info_), \
        .offset = offsetof(state, field) + \
                  sizeof((type *)0 - &((state *)0)->field) * 0, \
        .set_default = true, .defval.member = (default_), \
    }
#define DEFINE_PROP_UINT8(n, s, f, d) DEFINE_PROP_VALUE(n, s, f, d, qdev_prop_uint8, uint8_t, u)
#define DEFINE_PROP_UINT16(n, s, f, d) DEFINE_PROP_VALUE(n, s, f, d, qdev_prop_uint16, uint16_t, u)
#define DEFINE_PROP_UINT32(n, s, f, d) DEFINE_PROP_VALUE(n, s, f, d, qdev_prop_uint32, uint32_t, u)
#define DEFINE_PROP_UINT64(n, s, f, d) DEFINE_PROP_VALUE(n, s, f, d, qdev_prop_uint64, uint64_t, u)
#define DEFINE_PROP_INT32(n, s, f, d) DEFINE_PROP_VALUE(n, s, f, d, qdev_prop_int32, int32_t, i)
#define DEFINE_PROP_INT64(n, s, f, d) DEFINE_PROP_VALUE(n, s, f, d, qdev_prop_int64, int64_t, i)
#define DEFINE_PROP_SIZE(n, s, f, d) DEFINE_PROP_VALUE(n, s, f, d, qdev_prop_size, uint64_t, u)
#define DEFINE_PROP_SIZE32(n, s, f, d) DEFINE_PROP_VALUE(n, s, f, d, qdev_prop_uint32, uint32_t, u)
#define DEFINE_PROP_BOOL(n, s, f, d) DEFINE_PROP_VALUE(n, s, f, d, qdev_prop_bool, bool, u)
#define DEFINE_PROP_STRING(n, s, f) DEFINE_PROP(n, s, f, qdev_prop_string, char *)
#define DEFINE_PROP_BIT(n, s, f, bit, d) \
    { \
        .name = (n), .info = &qdev_prop_bit, .offset = offsetof(s, f), .bitnr = (bit), \
        .set_default = true, .defval.u = (d), \
    }
#define DEFINE_PROP_BIT64(n, s, f, bit, d) \
    { \
        .name = (n), .info = &qdev_prop_bit64, .offset = offsetof(s, f), .bitnr = (bit), \
        .set_default = true, .defval.u = (d), \
    }
#define DEFINE_PROP_END_OF_LIST() { 0 }

#define DEFINE_PROP_CHR(...) QEMU_DEVICE_NO_BACKENDS
#define DEFINE_PROP_DRIVE(...) QEMU_DEVICE_NO_BACKENDS
#define DEFINE_PROP_NETDEV(...) QEMU_DEVICE_NO_BACKENDS
#define DEFINE_NIC_PROPERTIES(...) QEMU_DEVICE_NO_BACKENDS
#define QEMU_DEVICE_NO_BACKENDS \
    { _Pragma("GCC error \"properties of this kind need the rest of QEMU (chardevs, block, " \
              "network); take DEFINE_PROP_STRING and open a file, or run the device inside of " \
              "QEMU\"") .name = NULL }

#endif
