// SPDX-License-Identifier: GPL-2.0-only
/* Rules about the legacy interface [3.1.2, 4.1.4.10] */

#include <linux/io.h>

#include "rng_hostile.h"

/* At 8 TiB */
#define HOSTILE_PAGE_NOWHERE	0x7ffffffe

static void set_page(struct hostile *h, u32 page)
{
	iowrite32(page, h->legacy + VIRTIO_PCI_QUEUE_PFN);
}

static u32 ring_page(struct hostile *h)
{
	return page_at(h, HOSTILE_DESC) >> VIRTIO_PCI_QUEUE_ADDR_SHIFT;
}

static void features_not_offered(struct hostile *h)
{
	iowrite32(~0, h->legacy + VIRTIO_PCI_GUEST_FEATURES);
	set_page(h, ring_page(h));
	hostile_set_status(h, VIRTIO_CONFIG_S_DRIVER_OK);
	hostile_put_request(h);
}

/* There is no FEATURES_OK here */
static void features_changed_later(struct hostile *h)
{
	hostile_start(h);
	hostile_set_status(h, 0xff);
	iowrite32(~0, h->legacy + VIRTIO_PCI_GUEST_FEATURES);
	hostile_put_request(h);
}

static void driver_ok_first(struct hostile *h)
{
	hostile_set_status(h, VIRTIO_CONFIG_S_DRIVER_OK);
	hostile_notify(h, 0);
	set_page(h, ring_page(h));
	hostile_put_request(h);
}

/* Old drivers do so [3.1.2] */
static void notified_before_driver_ok(struct hostile *h)
{
	set_page(h, ring_page(h));
	hostile_put_request(h);
}

static void status_bits_cleared(struct hostile *h)
{
	hostile_start(h);
	hostile_set_status(h, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	hostile_put_request(h);
}

static void page_nowhere(struct hostile *h)
{
	hostile_start(h);
	set_page(h, HOSTILE_PAGE_NOWHERE);
	hostile_notify(h, 0);
}

static void last_page(struct hostile *h)
{
	hostile_start(h);
	set_page(h, ~0U);
	hostile_notify(h, 0);
}

/* [4.1.5.1.3] an address of 0 takes the queue back, and no driver may move it */
static void page_moves(struct hostile *h)
{
	int round;

	hostile_start(h);
	for (round = 0; round < 20; round++) {
		hostile_put_request(h);
		set_page(h, round % 2 ? ring_page(h) : 0);
	}
}

static void queue_that_is_not_there(struct hostile *h)
{
	hostile_start(h);
	iowrite16(0xfffe, h->legacy + VIRTIO_PCI_QUEUE_SEL);
	set_page(h, ring_page(h));
	hostile_notify(h, 1);
	hostile_notify(h, 0xffff);
}

/* [4.1.5.1.3] the size of a queue is the device's */
static void queue_size_written(struct hostile *h)
{
	hostile_start(h);
	iowrite16(3, h->legacy + VIRTIO_PCI_QUEUE_NUM);
	iowrite16(0xffff, h->legacy + VIRTIO_PCI_QUEUE_NUM);
	hostile_put_request(h);
}

/* Beside MSI-X, which has registers of its own only while it is enabled */
static void vectors_without_msix(struct hostile *h)
{
	hostile_start(h);
	iowrite16(0, h->legacy + VIRTIO_MSI_CONFIG_VECTOR);
	iowrite16(0x7fff, h->legacy + VIRTIO_MSI_QUEUE_VECTOR);
	hostile_put_request(h);
}

static void widths(struct hostile *h)
{
	int offset;

	for (offset = 0; offset < 24; offset++) {
		ioread8(h->legacy + offset);
		iowrite8(0xff, h->legacy + offset);
	}
	for (offset = 0; offset < 24; offset += 4) {
		ioread32(h->legacy + offset);
		iowrite32(~0, h->legacy + offset);
	}
}

const struct hostile_case hostile_legacy_cases[] = {
	{ "features not offered", features_not_offered },
	{ "features changed later", features_changed_later },
	{ "DRIVER_OK first", driver_ok_first },
	{ "notified before DRIVER_OK", notified_before_driver_ok },
	{ "status bits cleared", status_bits_cleared },
	{ "page where no memory is", page_nowhere },
	{ "last page", last_page },
	{ "page moves", page_moves },
	{ "queue that is not there", queue_that_is_not_there },
	{ "queue size written", queue_size_written },
	{ "vectors without MSI-X", vectors_without_msix },
	{ "accesses of other widths", widths },
	{ }
};
