/* Single bits, bits of words, and words of bits. */
#ifndef QEMU_BITOPS_H
#define QEMU_BITOPS_H

#include "qemu/osdep.h"

#define BITS_PER_BYTE CHAR_BIT
#define BITS_PER_LONG (8 * (int)sizeof(unsigned long))
#define BITS_TO_LONGS(bits) DIV_ROUND_UP(bits, BITS_PER_LONG)
#define DECLARE_BITMAP(name, bits) unsigned long name[BITS_TO_LONGS(bits)]
#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))
#define BIT_MASK(n) (1UL << ((n) % BITS_PER_LONG))
#define BIT_WORD(n) ((n) / BITS_PER_LONG)
#define MAKE_64BIT_MASK(shift, length) \
    (((length) != 0 ? ~0ULL >> (64 - (length)) : 0ULL) << (shift))

static inline void set_bit(long n, unsigned long *words)
{
    words[BIT_WORD(n)] |= BIT_MASK(n);
}

static inline void clear_bit(long n, unsigned long *words)
{
    words[BIT_WORD(n)] &= ~BIT_MASK(n);
}

static inline void change_bit(long n, unsigned long *words)
{
    words[BIT_WORD(n)] ^= BIT_MASK(n);
}

static inline int test_bit(long n, const unsigned long *words)
{
    return (words[BIT_WORD(n)] & BIT_MASK(n)) != 0;
}

static inline int test_and_set_bit(long n, unsigned long *words)
{
    int before = test_bit(n, words);
    set_bit(n, words);
    return before;
}

static inline int test_and_clear_bit(long n, unsigned long *words)
{
    int before = test_bit(n, words);
    clear_bit(n, words);
    return before;
}

static inline unsigned long find_first_bit(const unsigned long *words, unsigned long bits)
{
    for (unsigned long n = 0; n < bits; n++) {
        if (test_bit(n, words)) {
            return n;
        }
    }
    return bits;
}

static inline uint32_t extract32(uint32_t value, int start, int length)
{
    return (value >> start) & (~0U >> (32 - length));
}

static inline uint64_t extract64(uint64_t value, int start, int length)
{
    return (value >> start) & (~0ULL >> (64 - length));
}

static inline uint8_t extract8(uint8_t value, int start, int length)
{
    return extract32(value, start, length);
}

static inline uint16_t extract16(uint16_t value, int start, int length)
{
    return extract32(value, start, length);
}

static inline int32_t sextract32(uint32_t value, int start, int length)
{
    return (int32_t)(value << (32 - length - start)) >> (32 - length);
}

static inline uint32_t deposit32(uint32_t value, int start, int length, uint32_t field)
{
    uint32_t mask = (~0U >> (32 - length)) << start;
    return (value & ~mask) | ((field << start) & mask);
}

static inline uint64_t deposit64(uint64_t value, int start, int length, uint64_t field)
{
    uint64_t mask = (~0ULL >> (64 - length)) << start;
    return (value & ~mask) | ((field << start) & mask);
}

static inline uint32_t rol32(uint32_t value, unsigned n)
{
    return (value << (n & 31)) | (value >> (-n & 31));
}

static inline uint32_t ror32(uint32_t value, unsigned n)
{
    return (value >> (n & 31)) | (value << (-n & 31));
}

static inline uint64_t rol64(uint64_t value, unsigned n)
{
    return (value << (n & 63)) | (value >> (-n & 63));
}

static inline uint64_t ror64(uint64_t value, unsigned n)
{
    return (value >> (n & 63)) | (value << (-n & 63));
}

static inline int ctz32(uint32_t value)
{
    return value ? __builtin_ctz(value) : 32;
}

static inline int ctz64(uint64_t value)
{
    return value ? __builtin_ctzll(value) : 64;
}

static inline int clz32(uint32_t value)
{
    return value ? __builtin_clz(value) : 32;
}

static inline int clz64(uint64_t value)
{
    return value ? __builtin_clzll(value) : 64;
}

static inline int ctpop32(uint32_t value)
{
    return __builtin_popcount(value);
}

static inline int ctpop64(uint64_t value)
{
    return __builtin_popcountll(value);
}

static inline uint64_t pow2floor(uint64_t value)
{
    return value ? 1ULL << (63 - __builtin_clzll(value)) : 0;
}

static inline uint64_t pow2ceil(uint64_t value)
{
    return value <= 1 ? 1 : pow2floor(value - 1) << 1;
}

#endif
