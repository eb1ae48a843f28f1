/* Sizes. */
#ifndef QEMU_UNITS_H
#define QEMU_UNITS_H

#include <stdint.h>

#define KiB (INT64_C(1) << 10)
#define MiB (INT64_C(1) << 20)
#define GiB (INT64_C(1) << 30)
#define TiB (INT64_C(1) << 40)
#define PiB (INT64_C(1) << 50)
#define EiB (INT64_C(1) << 60)

#define S_1KiB 1024
#define S_4KiB 4096
#define S_64KiB 65536
#define S_1MiB 1048576

#endif
