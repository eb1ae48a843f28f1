/* Byte orders, and values at any address. */
#ifndef QEMU_BSWAP_H
#define QEMU_BSWAP_H

#include <byteswap.h>
#include <endian.h>
#include <stdint.h>
#include <string.h>

#define bswap16(value) __builtin_bswap16(value)
#define bswap32(value) __builtin_bswap32(value)
#define bswap64(value) __builtin_bswap64(value)

#define cpu_to_le16(value) htole16(value)
#define cpu_to_le32(value) htole32(value)
#define cpu_to_le64(value) htole64(value)
#define cpu_to_be16(value) htobe16(value)
#define cpu_to_be32(value) htobe32(value)
#define cpu_to_be64(value) htobe64(value)
#define le16_to_cpu(value) le16toh(value)
#define le32_to_cpu(value) le32toh(value)
#define le64_to_cpu(value) le64toh(value)
#define be16_to_cpu(value) be16toh(value)
#define be32_to_cpu(value) be32toh(value)
#define be64_to_cpu(value) be64toh(value)

/* Loads and stores of `bits` in byte order `e`: lduw_le_p(), stl_be_p() and so on. */
#define QEMU_DEVICE_LOAD_STORE(letter, sign_letter, bits, e, convert_from, convert_to) \
    static inline uint##bits##_t ld##letter##sign_letter##_##e##_p(const void *place) \
    { \
        uint##bits##_t value; \
        memcpy(&value, place, sizeof(value)); \
        return convert_from(value); \
    } \
    static inline void st##letter##_##e##_p(void *place, uint##bits##_t value) \
    { \
        value = convert_to(value); \
        memcpy(place, &value, sizeof(value)); \
    }

#define QEMU_DEVICE_SAME(value) (value)
QEMU_DEVICE_LOAD_STORE(w, , 16, le, le16toh, htole16)
QEMU_DEVICE_LOAD_STORE(l, , 32, le, le32toh, htole32)
QEMU_DEVICE_LOAD_STORE(q, , 64, le, le64toh, htole64)
QEMU_DEVICE_LOAD_STORE(w, , 16, be, be16toh, htobe16)
QEMU_DEVICE_LOAD_STORE(l, , 32, be, be32toh, htobe32)
QEMU_DEVICE_LOAD_STORE(q, , 64, be, be64toh, htobe64)
QEMU_DEVICE_LOAD_STORE(w, , 16, he, QEMU_DEVICE_SAME, QEMU_DEVICE_SAME)
QEMU_DEVICE_LOAD_STORE(l, , 32, he, QEMU_DEVICE_SAME, QEMU_DEVICE_SAME)
QEMU_DEVICE_LOAD_STORE(q, , 64, he, QEMU_DEVICE_SAME, QEMU_DEVICE_SAME)
#define lduw_le_p ldw_le_p
#define lduw_be_p ldw_be_p
#define lduw_he_p ldw_he_p

static inline uint8_t ldub_p(const void *place)
{
    return *(const uint8_t *)place;
}

static inline void stb_p(void *place, uint8_t value)
{
    *(uint8_t *)place = value;
}

static inline uint64_t ldn_le_p(const void *place, int size)
{
    uint64_t value = 0;
    memcpy(&value, place, size);
    return le64toh(value);
}

static inline void stn_le_p(void *place, int size, uint64_t value)
{
    value = htole64(value);
    memcpy(place, &value, size);
}

#define ldn_p ldn_le_p
#define stn_p stn_le_p

#endif
