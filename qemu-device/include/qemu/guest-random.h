/* Random bytes of the operating system. */
#ifndef QEMU_GUEST_RANDOM_H
#define QEMU_GUEST_RANDOM_H

#include "qemu/osdep.h"

int qemu_guest_getrandom(void *buffer, size_t length, Error **errp);
void qemu_guest_getrandom_nofail(void *buffer, size_t length);

#endif
