/* The virtual machine's state, which is not a device's affair here. */
#ifndef SYSTEM_RUNSTATE_H
#define SYSTEM_RUNSTATE_H

#include "qemu/osdep.h"

#define runstate_is_running() true
#define runstate_check(state) false

void qemu_system_reset_request(int cause)
    QEMU_DEVICE_NOT_OFFERED("a device in a process of its own cannot reset the virtual machine");
void qemu_system_shutdown_request(int cause)
    QEMU_DEVICE_NOT_OFFERED("a device in a process of its own cannot end the virtual machine");

#endif
