// SPDX-License-Identifier: GPL-2.0-only
/* Rules about when each side wants to hear of the other [2.7.7, 2.7.10, 2.8.10] */

#include "rng_hostile.h"

#define HOSTILE_EVENT_IDX BIT_ULL(VIRTIO_RING_F_EVENT_IDX)

/* A request, with these flags in the available ring */
static void flagged(struct hostile *h, u16 flags)
{
	hostile_start(h);
	hostile_avail(h)->flags = cpu_to_le16(flags);
	hostile_put_request(h);
}

/* [2.7.7.1] without EVENT_IDX the driver MUST set flags to 0 or 1 */
static void flags_all_ones(struct hostile *h)
{
	flagged(h, 0xffff);
}

/* [2.7.7.1] with EVENT_IDX the driver MUST set flags to 0 */
static void flags_with_event_idx(struct hostile *h)
{
	h->features |= HOSTILE_EVENT_IDX;
	flagged(h, VRING_AVAIL_F_NO_INTERRUPT);
}

/* A request, with an interrupt wanted at this index */
static void wanted_at(struct hostile *h, u16 index)
{
	h->features |= HOSTILE_EVENT_IDX;
	hostile_start(h);
	hostile_avail(h)->ring[h->size] = cpu_to_le16(index);
	hostile_put_request(h);
}

static void event_ahead(struct hostile *h)
{
	wanted_at(h, 0x7fff);
}

static void event_behind(struct hostile *h)
{
	wanted_at(h, 0xffff);
}

/* It is another one at each look */
static void event_moves(struct hostile *h)
{
	u16 index;

	wanted_at(h, 0);
	for (index = 2; index <= HOSTILE_SIZE; index++) {
		hostile_avail(h)->ring[h->size] = cpu_to_le16(~index);
		hostile_split_offer(h, 0, index);
		hostile_notify(h, 0);
	}
}

/* [2.7.8] the used ring is only for the device to write */
static void used_ring_written(struct hostile *h)
{
	h->features |= HOSTILE_EVENT_IDX;
	hostile_start(h);
	memset(hostile_used(h), 0xff,
	       sizeof(struct vring_used) +
	       h->size * sizeof(struct vring_used_elem) + sizeof(u16));
	hostile_put_request(h);
	hostile_used(h)->idx = cpu_to_le16(1000);
	hostile_split_offer(h, 0, 2);
	hostile_notify(h, 0);
}

/* [2.7.5.3.1] no INDIRECT unless that was negotiated */
static void table_without_the_feature(struct hostile *h)
{
	h->features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	hostile_start(h);
	hostile_split_put(h, 0, page_at(h, HOSTILE_TABLE), 16,
			  VRING_DESC_F_INDIRECT, 0);
	hostile_split_offer(h, 0, 1);
	hostile_notify(h, 0);
}

const struct hostile_case hostile_split_event_cases[] = {
	{ "all flags of the available ring", flags_all_ones },
	{ "NO_INTERRUPT with EVENT_IDX", flags_with_event_idx },
	{ "event index far ahead", event_ahead },
	{ "event index behind", event_behind },
	{ "event index moves", event_moves },
	{ "used ring written", used_ring_written },
	{ "table without INDIRECT_DESC", table_without_the_feature },
	{ }
};

/* A request, with this in the driver's event suppression structure [2.8.14] */
static void packed_event(struct hostile *h, u16 place, u16 flags)
{
	struct vring_packed_desc_event *event = page(h, HOSTILE_AVAIL);

	hostile_start(h);
	event->off_wrap = cpu_to_le16(place);
	event->flags = cpu_to_le16(flags);
	hostile_put_request(h);
}

/* [2.8.14] 3 is reserved */
static void event_flags_reserved(struct hostile *h)
{
	packed_event(h, 0, 3);
}

static void event_flags_all_ones(struct hostile *h)
{
	packed_event(h, 0xffff, 0xffff);
}

/* [2.8.14] DESC is only valid with EVENT_IDX */
static void event_place_without_event_idx(struct hostile *h)
{
	packed_event(h, 0, VRING_PACKED_EVENT_FLAG_DESC);
}

static void event_place_past_the_ring(struct hostile *h)
{
	h->features |= HOSTILE_EVENT_IDX;
	packed_event(h, 0x7fff, VRING_PACKED_EVENT_FLAG_DESC);
}

static void event_place_of_another_lap(struct hostile *h)
{
	h->features |= HOSTILE_EVENT_IDX;
	packed_event(h, HOSTILE_SIZE - 1, VRING_PACKED_EVENT_FLAG_DESC);
}

/* [2.8.10] the device's structure is not for the driver to write */
static void events_of_the_device_written(struct hostile *h)
{
	h->features |= HOSTILE_EVENT_IDX;
	hostile_start(h);
	memset(page(h, HOSTILE_USED), 0xff,
	       sizeof(struct vring_packed_desc_event));
	hostile_put_request(h);
}

/* [2.8.8] no INDIRECT unless that was negotiated */
static void packed_table_without_the_feature(struct hostile *h)
{
	h->features &= ~BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	hostile_start(h);
	hostile_packed_put(h, 0, page_at(h, HOSTILE_TABLE), 16, 0,
			   VRING_DESC_F_INDIRECT);
	hostile_notify(h, 0);
}

const struct hostile_case hostile_packed_event_cases[] = {
	{ "reserved event flags", event_flags_reserved },
	{ "all event flags", event_flags_all_ones },
	{ "event place without EVENT_IDX", event_place_without_event_idx },
	{ "event place past the ring", event_place_past_the_ring },
	{ "event place of another lap", event_place_of_another_lap },
	{ "events of the device written", events_of_the_device_written },
	{ "table without INDIRECT_DESC", packed_table_without_the_feature },
	{ }
};
