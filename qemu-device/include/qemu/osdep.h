/*
 * The first header of each device: the C library, and what QEMU gives every file.
 *
 * These headers have the names of QEMU's, so that a device's file compiles here and inside QEMU
 * without a change. They were written for this project from what the API does; not one line is
 * QEMU's.
 */
#ifndef QEMU_OSDEP_H
#define QEMU_OSDEP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <pthread.h>

#include "qemu-device/compiler.h"
#include "qemu-device/glib.h"
#include "qemu/atomic.h"
#include "qemu/typedefs.h"

/* A thread that was made without qemu_thread_create() may raise interrupts, too. */
int qemu_device_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                               void *(*start)(void *), void *argument);
#define pthread_create qemu_device_pthread_create

#define qemu_real_host_page_size() ((uintptr_t)sysconf(_SC_PAGESIZE))
#define HOST_LONG_BITS (8 * (int)sizeof(long))
#define TARGET_PAGE_BITS 12
#define TARGET_PAGE_SIZE (1 << TARGET_PAGE_BITS)

#endif
