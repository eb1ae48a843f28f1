// SPDX-License-Identifier: GPL-2.0-only
/* What a driver does that keeps to the rules: reset, features, a queue, a request */

#include <linux/delay.h>
#include <linux/io.h>
#include <linux/iopoll.h>

#include "rng_hostile.h"

/* An emulated device on a busy machine may take its time */
#define HOSTILE_PATIENCE_US	(20 * USEC_PER_SEC)
/* Half of the cases wait all of it */
#define HOSTILE_FAULT_US	(150 * USEC_PER_MSEC)
#define HOSTILE_LOOK_US		1000

const u64 hostile_usual_features = BIT_ULL(VIRTIO_F_VERSION_1) |
				   BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) |
				   BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);

static void __iomem *hostile_status_register(struct hostile *h)
{
	if (h->legacy)
		return h->legacy + VIRTIO_PCI_STATUS;
	return &h->common->device_status;
}

u8 hostile_status(struct hostile *h)
{
	return ioread8(hostile_status_register(h));
}

void hostile_set_status(struct hostile *h, u8 status)
{
	iowrite8(status, hostile_status_register(h));
}

/* [2.1.2, 4.1.4.3] */
bool hostile_reset(struct hostile *h)
{
	u8 status;

	hostile_set_status(h, 0);
	memset(h->memory, 0, HOSTILE_PAGES * HOSTILE_PAGE);
	return !read_poll_timeout(hostile_status, status, !status,
				  HOSTILE_LOOK_US, HOSTILE_PATIENCE_US, false, h);
}

void hostile_set_features(struct hostile *h, u64 features)
{
	iowrite32(0, &h->common->guest_feature_select);
	iowrite32(lower_32_bits(features), &h->common->guest_feature);
	iowrite32(1, &h->common->guest_feature_select);
	iowrite32(upper_32_bits(features), &h->common->guest_feature);
}

u64 hostile_features(struct hostile *h)
{
	u64 features;

	iowrite32(0, &h->common->device_feature_select);
	features = ioread32(&h->common->device_feature);
	iowrite32(1, &h->common->device_feature_select);
	return features | (u64)ioread32(&h->common->device_feature) << 32;
}

/* [3.1.1] up to FEATURES_OK */
bool hostile_negotiate(struct hostile *h)
{
	u8 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	u64 wanted = h->features;

	if (h->packed)
		wanted |= BIT_ULL(VIRTIO_F_RING_PACKED);
	hostile_set_status(h, status);
	hostile_set_features(h, hostile_features(h) & wanted);
	hostile_set_status(h, status | VIRTIO_CONFIG_S_FEATURES_OK);
	return hostile_status(h) & VIRTIO_CONFIG_S_FEATURES_OK;
}

void hostile_set_queue(struct hostile *h, u16 size, u64 desc, u64 driver,
		       u64 device)
{
	iowrite16(0, &h->common->queue_select);
	iowrite16(size, &h->common->queue_size);
	iowrite32(lower_32_bits(desc), &h->common->queue_desc_lo);
	iowrite32(upper_32_bits(desc), &h->common->queue_desc_hi);
	iowrite32(lower_32_bits(driver), &h->common->queue_avail_lo);
	iowrite32(upper_32_bits(driver), &h->common->queue_avail_hi);
	iowrite32(lower_32_bits(device), &h->common->queue_used_lo);
	iowrite32(upper_32_bits(device), &h->common->queue_used_hi);
}

void hostile_enable(struct hostile *h)
{
	iowrite16(1, &h->common->queue_enable);
	hostile_set_status(h, hostile_status(h) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* [3.1.2] */
static void hostile_start_legacy(struct hostile *h)
{
	u8 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	u32 offered = ioread32(h->legacy + VIRTIO_PCI_HOST_FEATURES);

	hostile_set_status(h, status);
	iowrite32(lower_32_bits(h->features) & offered,
		  h->legacy + VIRTIO_PCI_GUEST_FEATURES);
	iowrite16(0, h->legacy + VIRTIO_PCI_QUEUE_SEL);
	iowrite32(page_at(h, HOSTILE_DESC) >> VIRTIO_PCI_QUEUE_ADDR_SHIFT,
		  h->legacy + VIRTIO_PCI_QUEUE_PFN);
	hostile_set_status(h, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* All of [3.1.1] */
bool hostile_start(struct hostile *h)
{
	if (!hostile_reset(h))
		return false;
	if (h->legacy) {
		hostile_start_legacy(h);
		return true;
	}
	if (!hostile_negotiate(h))
		return false;
	hostile_set_queue(h, HOSTILE_SIZE, page_at(h, HOSTILE_DESC),
			  page_at(h, HOSTILE_AVAIL), page_at(h, HOSTILE_USED));
	hostile_enable(h);
	return true;
}

void hostile_notify(struct hostile *h, u16 queue)
{
	if (h->legacy) {
		iowrite16(queue, h->legacy + VIRTIO_PCI_QUEUE_NOTIFY);
		return;
	}
	iowrite16(0, &h->common->queue_select);
	iowrite16(queue, h->notify +
		  ioread16(&h->common->queue_notify_off) * h->notify_multiplier);
}

/* Whether the device says so within the time that a busy host may take */
bool hostile_needs_reset(struct hostile *h)
{
	u8 status;

	return !read_poll_timeout(hostile_status, status,
				  status & VIRTIO_CONFIG_S_NEEDS_RESET,
				  HOSTILE_LOOK_US, HOSTILE_FAULT_US, false, h);
}

/* How many requests the device has completed, 0 or 1 */
static u32 hostile_completed(struct hostile *h)
{
	struct vring_packed_desc *desc = page(h, HOSTILE_DESC);
	struct vring_used *used = hostile_used(h);
	u16 flags;

	if (!h->packed)
		return le16_to_cpu(READ_ONCE(used->idx));
	flags = le16_to_cpu(READ_ONCE(desc->flags));
	return !!(flags & BIT(VRING_PACKED_DESC_F_USED));
}

/* Makes the first request, and notifies */
void hostile_put_request(struct hostile *h)
{
	if (h->packed) {
		hostile_packed_put(h, 0, page_at(h, HOSTILE_BUFFER),
				   HOSTILE_REQUEST, 0, VRING_DESC_F_WRITE);
	} else {
		hostile_split_put(h, 0, page_at(h, HOSTILE_BUFFER),
				  HOSTILE_REQUEST, VRING_DESC_F_WRITE, 0);
		hostile_split_offer(h, 0, 1);
	}
	hostile_notify(h, 0);
}

/* Whether the device completes the request that it was notified of */
bool hostile_completes(struct hostile *h)
{
	u32 completed;

	return !read_poll_timeout(hostile_completed, completed, completed,
				  HOSTILE_LOOK_US, HOSTILE_PATIENCE_US, false, h);
}

/* Whether the device, reset and set up anew, serves a request */
bool hostile_request(struct hostile *h)
{
	if (!hostile_start(h))
		return false;
	hostile_put_request(h);
	return hostile_completes(h);
}
