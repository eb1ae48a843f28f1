/* Messages to the user. */
#ifndef QEMU_ERROR_REPORT_H
#define QEMU_ERROR_REPORT_H

#include "qemu/osdep.h"

#define error_report(...) qemu_device_log_line("error: ", __VA_ARGS__)
#define warn_report(...) qemu_device_log_line("warning: ", __VA_ARGS__)
#define info_report(...) qemu_device_log_line("", __VA_ARGS__)
#define error_printf(...) fprintf(stderr, __VA_ARGS__)
#define error_report_once(...) QEMU_DEVICE_ONCE(error_report(__VA_ARGS__))
#define warn_report_once(...) QEMU_DEVICE_ONCE(warn_report(__VA_ARGS__))
#define QEMU_DEVICE_ONCE(call) \
    do { \
        static bool said_; \
        if (!said_) { \
            said_ = true; \
            call; \
        } \
    } while (0)

#endif
