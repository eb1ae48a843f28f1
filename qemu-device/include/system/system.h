/* Nothing of the virtual machine itself is within a device's reach. */
#ifndef SYSTEM_SYSTEM_H
#define SYSTEM_SYSTEM_H

#include "qemu/osdep.h"

#endif
