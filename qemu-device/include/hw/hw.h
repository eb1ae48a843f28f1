/* The end of a device that cannot go on. */
#ifndef HW_HW_H
#define HW_HW_H

#include "qemu/osdep.h"

void hw_error(const char *format, ...) G_GNUC_PRINTF(1, 2) G_NORETURN;

#endif
