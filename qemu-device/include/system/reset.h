/* Functions that are called when the device is reset. */
#ifndef SYSTEM_RESET_H
#define SYSTEM_RESET_H

#include "qemu/osdep.h"

void qemu_register_reset(void (*function)(void *opaque), void *opaque)
    QEMU_DEVICE_NOT_OFFERED("use the device's own reset: device_class_set_legacy_reset()");

#endif
