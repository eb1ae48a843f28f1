/* The log: what a driver does wrong (LOG_GUEST_ERROR), and what the device lacks (LOG_UNIMP). */
#ifndef QEMU_LOG_H
#define QEMU_LOG_H

#include "qemu/osdep.h"

#define LOG_UNIMP (1 << 10)
#define LOG_GUEST_ERROR (1 << 11)
#define LOG_TRACE (1 << 15)

#define qemu_loglevel_mask(mask) (((mask) & (LOG_UNIMP | LOG_GUEST_ERROR)) != 0)
#define qemu_log_mask(mask, ...) \
    do { \
        if (qemu_loglevel_mask(mask)) { \
            qemu_device_log_line(((mask) & LOG_UNIMP) ? "not implemented: " : "guest error: ", \
                                 __VA_ARGS__); \
        } \
    } while (0)
#define qemu_log(...) qemu_device_log_line("", __VA_ARGS__)
#define qemu_log_enabled() true

#endif
