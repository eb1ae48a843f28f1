/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * my_rng - a teaching PCI random number generator
 *
 * What the device looks like on the bus, and what its driver offers to
 * programs.  Included by the driver and usable from any C program.
 */
#ifndef MY_RNG_H
#define MY_RNG_H

#include <linux/ioctl.h>

/* PCI identity */
#define MY_RNG_PCI_VENDOR_ID	0x1234
#define MY_RNG_PCI_DEVICE_ID	0xcafe

/*
 * Registers in BAR 0: 32 bit, little endian.  The rest of the BAR reads as 0
 * and ignores writes.
 */
#define MY_RNG_REG_RANDOM	0x0	/* R: each read returns a new number */
#define MY_RNG_REG_SEED		0x4	/* W: seeds the generator; reads as 0 */
#define MY_RNG_REGS_SIZE	0x8

/*
 * Further devices append their number: /dev/my_rng_driver1, 2, ...  The mode is
 * 0666 unless the module parameter "mode" says less.
 */
#define MY_RNG_DEVICE_NODE	"/dev/my_rng_driver"

/* Returns the next random number */
#define MY_RNG_IOCTL_RAND	_IOR('q', 1, unsigned int)
/*
 * Seeds the generator: the same seed gives the same numbers again.  All users
 * of one device share its generator.  Needs a file open for writing, or
 * CAP_SYS_ADMIN.
 */
#define MY_RNG_IOCTL_SEED	_IOW('q', 1, unsigned int)

#endif /* MY_RNG_H */
