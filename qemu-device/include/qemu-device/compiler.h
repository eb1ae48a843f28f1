/* What QEMU's headers give every file: attributes and arithmetic on types. */
#ifndef QEMU_DEVICE_COMPILER_H
#define QEMU_DEVICE_COMPILER_H

#include <stddef.h>

#define QEMU_PACKED __attribute__((packed))
#define QEMU_ALIGNED(n) __attribute__((aligned(n)))
#define QEMU_NORETURN __attribute__((noreturn))
#define G_NORETURN __attribute__((noreturn))
#define G_GNUC_UNUSED __attribute__((unused))
#define G_GNUC_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define G_GNUC_WARN_UNUSED_RESULT __attribute__((warn_unused_result))
#define QEMU_WARN_UNUSED_RESULT __attribute__((warn_unused_result))
#define QEMU_FALLTHROUGH __attribute__((fallthrough))
#define QEMU_ALWAYS_INLINE __attribute__((always_inline))

#ifndef likely
#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#endif

#ifndef container_of
#define container_of(pointer, type, member) \
    ((type *)((char *)(pointer) - offsetof(type, member)))
#endif
#define DO_UPCAST(type, member, pointer) container_of(pointer, type, member)

#define QEMU_BUILD_BUG_ON(condition) _Static_assert(!(condition), "not expected: " #condition)
#define QEMU_BUILD_BUG_MSG(condition, message) _Static_assert(!(condition), message)
#define glue(a, b) QEMU_DEVICE_GLUE(a, b)
#define QEMU_DEVICE_GLUE(a, b) a##b
#define stringify(text) QEMU_DEVICE_STRINGIFY(text)
#define QEMU_DEVICE_STRINGIFY(text) #text

/* A function of QEMU that devices cannot have here: calling it does not compile. */
#define QEMU_DEVICE_NOT_OFFERED(sentence) __attribute__((error(sentence)))

#undef MIN
#undef MAX
#define MIN(a, b) \
    ({ __auto_type min_a_ = (a); __auto_type min_b_ = (b); min_a_ < min_b_ ? min_a_ : min_b_; })
#define MAX(a, b) \
    ({ __auto_type max_a_ = (a); __auto_type max_b_ = (b); max_a_ > max_b_ ? max_a_ : max_b_; })
#define MIN_CONST(a, b) ((a) < (b) ? (a) : (b))
#define MAX_CONST(a, b) ((a) > (b) ? (a) : (b))
#define ABS(x) ((x) < 0 ? -(x) : (x))
#ifndef ARRAY_SIZE
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#endif
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define ROUND_DOWN(n, d) ((n) & -(0 ? (n) : (d)))
#define ROUND_UP(n, d) ROUND_DOWN((n) + (d) - 1, (d))
#define QEMU_ALIGN_DOWN(n, m) ((n) / (m) * (m))
#define QEMU_ALIGN_UP(n, m) QEMU_ALIGN_DOWN((n) + (m) - 1, (m))
#define QEMU_IS_ALIGNED(n, m) (((n) % (m)) == 0)
#define is_power_of_2(n) ((n) != 0 && ((n) & ((n) - 1)) == 0)

#endif
