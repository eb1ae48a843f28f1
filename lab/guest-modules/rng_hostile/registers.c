// SPDX-License-Identifier: GPL-2.0-only
/* Rules about registers and PCI */

#include <linux/delay.h>
#include <linux/io.h>

#include "rng_hostile.h"

#define HOSTILE_READY (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

/* [2.2.1] a driver MUST NOT accept a feature that the device did not offer */
static void features_not_offered(struct hostile *h)
{
	hostile_set_status(h, HOSTILE_READY);
	hostile_set_features(h, ~0ULL);
	hostile_set_status(h, HOSTILE_READY | VIRTIO_CONFIG_S_FEATURES_OK);
	hostile_enable(h);
	hostile_notify(h, 0);
}

/* [6.1] a driver MUST accept VIRTIO_F_VERSION_1 */
static void no_version_1(struct hostile *h)
{
	hostile_set_status(h, HOSTILE_READY);
	hostile_set_features(h, 0);
	hostile_set_status(h, HOSTILE_READY | VIRTIO_CONFIG_S_FEATURES_OK);
	hostile_enable(h);
	hostile_notify(h, 0);
}

/* [3.1.1] the driver MUST follow the sequence */
static void driver_ok_first(struct hostile *h)
{
	hostile_set_status(h, VIRTIO_CONFIG_S_DRIVER_OK);
	hostile_enable(h);
	hostile_notify(h, 0);
	hostile_negotiate(h);
}

/* [2.1.1] the driver MUST NOT clear a device status bit */
static void status_bits_cleared(struct hostile *h)
{
	hostile_start(h);
	hostile_set_status(h, VIRTIO_CONFIG_S_DRIVER_OK);
	hostile_notify(h, 0);
}

/* [2.1.1] the driver MUST NOT send notifications before DRIVER_OK */
static void notified_before_driver_ok(struct hostile *h)
{
	hostile_negotiate(h);
	hostile_set_queue(h, HOSTILE_SIZE, page_at(h, HOSTILE_DESC),
			  page_at(h, HOSTILE_AVAIL), page_at(h, HOSTILE_USED));
	hostile_notify(h, 0);
	iowrite16(1, &h->common->queue_enable);
	hostile_notify(h, 0);
}

/* [3.1.1] features after FEATURES_OK */
static void features_changed_later(struct hostile *h)
{
	hostile_start(h);
	hostile_set_features(h, ~0ULL);
	hostile_notify(h, 0);
}

static void sized(struct hostile *h, u16 size)
{
	hostile_negotiate(h);
	hostile_set_queue(h, size, page_at(h, HOSTILE_DESC),
			  page_at(h, HOSTILE_AVAIL), page_at(h, HOSTILE_USED));
	hostile_enable(h);
	hostile_notify(h, 0);
}

/* [4.1.4.3.2] a power of 2, and no more than the device has */
static void queue_size_0(struct hostile *h)
{
	sized(h, 0);
}

static void queue_size_3(struct hostile *h)
{
	sized(h, 3);
}

static void queue_size_65535(struct hostile *h)
{
	sized(h, 65535);
}

/* [2.7, 2.8.10.1] alignment of the areas */
static void areas_misaligned(struct hostile *h)
{
	hostile_negotiate(h);
	hostile_set_queue(h, HOSTILE_SIZE, page_at(h, HOSTILE_DESC) + 1,
			  page_at(h, HOSTILE_AVAIL) + 1,
			  page_at(h, HOSTILE_USED) + 1);
	hostile_enable(h);
	hostile_notify(h, 0);
}

/* Areas where no memory is */
static void areas_nowhere(struct hostile *h)
{
	hostile_negotiate(h);
	hostile_set_queue(h, HOSTILE_SIZE, HOSTILE_NOWHERE, HOSTILE_NOWHERE,
			  HOSTILE_NOWHERE);
	hostile_enable(h);
	hostile_notify(h, 0);
}

static void areas_at_the_end(struct hostile *h)
{
	hostile_negotiate(h);
	hostile_set_queue(h, HOSTILE_SIZE, ~0xfULL, ~0x1ULL, ~0x3ULL);
	hostile_enable(h);
	hostile_notify(h, 0);
}

/* [4.1.4.3.2] a queue MUST be configured before it is enabled, and not after */
static void areas_moved_while_enabled(struct hostile *h)
{
	hostile_start(h);
	hostile_set_queue(h, HOSTILE_SIZE / 2, HOSTILE_NOWHERE, HOSTILE_NOWHERE,
			  HOSTILE_NOWHERE);
	hostile_notify(h, 0);
}

/* [4.1.4.3.2] the driver MUST NOT write a 0 to queue_enable */
static void queue_disabled(struct hostile *h)
{
	hostile_start(h);
	iowrite16(0, &h->common->queue_enable);
	hostile_notify(h, 0);
}

/* Queues that are not there */
static void queue_that_is_not_there(struct hostile *h)
{
	hostile_start(h);
	iowrite16(0xfffe, &h->common->queue_select);
	iowrite16(HOSTILE_SIZE, &h->common->queue_size);
	iowrite16(1, &h->common->queue_enable);
	hostile_notify(h, 1);
	hostile_notify(h, 0xffff);
}

/* [4.1.5.1.2.2] a vector that is not there */
static void vectors_that_are_not_there(struct hostile *h)
{
	hostile_negotiate(h);
	iowrite16(0x7fff, &h->common->msix_config);
	iowrite16(0, &h->common->queue_select);
	iowrite16(0x7fff, &h->common->queue_msix_vector);
	hostile_set_queue(h, HOSTILE_SIZE, page_at(h, HOSTILE_DESC),
			  page_at(h, HOSTILE_AVAIL), page_at(h, HOSTILE_USED));
	hostile_enable(h);
	hostile_notify(h, 0);
}

/* A request while the device may not reach memory */
static void no_bus_mastering(struct hostile *h)
{
	pci_clear_master(h->pdev);
	hostile_start(h);
	if (!h->packed) {
		hostile_split_put(h, 0, page_at(h, HOSTILE_BUFFER),
				  HOSTILE_REQUEST, VRING_DESC_F_WRITE, 0);
		hostile_split_offer(h, 0, 1);
	}
	hostile_notify(h, 0);
	msleep(20);
	pci_set_master(h->pdev);
	hostile_notify(h, 0);
}

/* [2.1.2] a reset in the midst of a request */
static void reset_during_a_request(struct hostile *h)
{
	int round;

	for (round = 0; round < 20; round++) {
		hostile_start(h);
		if (h->packed)
			hostile_packed_put(h, 0, page_at(h, HOSTILE_BUFFER),
					   HOSTILE_PAGE, 0, VRING_DESC_F_WRITE);
		else
			hostile_split_put(h, 0, page_at(h, HOSTILE_BUFFER),
					  HOSTILE_PAGE, VRING_DESC_F_WRITE, 0);
		hostile_split_offer(h, 0, 1);
		hostile_notify(h, 0);
		hostile_set_status(h, 0);
	}
}

/* Accesses of widths that no register has [4.1.3.1] */
static void widths(struct hostile *h)
{
	u8 __iomem *regs = (u8 __iomem *)h->common;
	int offset;

	for (offset = 0; offset < 56; offset++) {
		ioread8(regs + offset);
		iowrite8(0xff, regs + offset);
	}
	for (offset = 0; offset < 56; offset += 4) {
		ioread32(regs + offset);
		iowrite32(~0, regs + offset);
	}
}

const struct hostile_case hostile_register_cases[] = {
	{ "features not offered", features_not_offered },
	{ "no VERSION_1", no_version_1 },
	{ "DRIVER_OK first", driver_ok_first },
	{ "status bits cleared", status_bits_cleared },
	{ "notified before DRIVER_OK", notified_before_driver_ok },
	{ "features changed later", features_changed_later },
	{ "queue size 0", queue_size_0 },
	{ "queue size 3", queue_size_3 },
	{ "queue size 65535", queue_size_65535 },
	{ "areas misaligned", areas_misaligned },
	{ "areas where no memory is", areas_nowhere },
	{ "areas at the end of the address space", areas_at_the_end },
	{ "areas moved while enabled", areas_moved_while_enabled },
	{ "queue disabled", queue_disabled },
	{ "queue that is not there", queue_that_is_not_there },
	{ "vectors that are not there", vectors_that_are_not_there },
	{ "no bus mastering", no_bus_mastering },
	{ "reset during a request", reset_during_a_request },
	{ "accesses of other widths", widths },
	{ }
};
