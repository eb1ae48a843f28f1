// SPDX-License-Identifier: GPL-2.0-only
/* Rules about the packed virtqueue [2.8] */

#include "rng_hostile.h"

/* Puts a descriptor, and makes it available in the first round of the ring */
void hostile_packed_put(struct hostile *h, u16 at, u64 address, u32 length,
			u16 id, u16 flags)
{
	struct vring_packed_desc *desc = page(h, HOSTILE_DESC);

	desc[at].addr = cpu_to_le64(address);
	desc[at].len = cpu_to_le32(length);
	desc[at].id = cpu_to_le16(id);
	/* The rest of it is written before the flags that offer it */
	dma_wmb();
	WRITE_ONCE(desc[at].flags,
		   cpu_to_le16(flags | BIT(VRING_PACKED_DESC_F_AVAIL)));
}

static void one(struct hostile *h, u64 address, u32 length, u16 id, u16 flags)
{
	hostile_start(h);
	hostile_packed_put(h, 0, address, length, id, flags);
	hostile_notify(h, 0);
}

static void id_past_the_queue(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), 64, 65535, VRING_DESC_F_WRITE);
}

static void buffer_nowhere(struct hostile *h)
{
	one(h, HOSTILE_NOWHERE, 64, 0, VRING_DESC_F_WRITE);
}

static void buffer_of_4_gib(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), ~0U, 0, VRING_DESC_F_WRITE);
}

static void buffer_of_0_bytes(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), 0, 0, VRING_DESC_F_WRITE);
}

static void buffer_to_read(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), 64, 0, 0);
}

/* [2.8.6] a list that goes round the whole ring and has no end */
static void list_without_end(struct hostile *h)
{
	u16 at;

	hostile_start(h);
	for (at = 0; at < HOSTILE_SIZE; at++)
		hostile_packed_put(h, at, page_at(h, HOSTILE_BUFFER), 16, 0,
				   VRING_DESC_F_WRITE | VRING_DESC_F_NEXT);
	hostile_notify(h, 0);
}

/* A list whose second descriptor is not there yet */
static void list_that_stops(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), 16, 0,
	    VRING_DESC_F_WRITE | VRING_DESC_F_NEXT);
}

/* All flags of all descriptors, at once */
static void all_ones(struct hostile *h)
{
	hostile_start(h);
	memset(page(h, HOSTILE_DESC), 0xff, HOSTILE_PAGE);
	hostile_notify(h, 0);
}

static void table_of_17_bytes(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_TABLE), 17, 0, VRING_DESC_F_INDIRECT);
}

static void table_of_0_bytes(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_TABLE), 0, 0, VRING_DESC_F_INDIRECT);
}

static void table_nowhere(struct hostile *h)
{
	one(h, HOSTILE_NOWHERE, 64, 0, VRING_DESC_F_INDIRECT);
}

/* [2.8.8] INDIRECT and NEXT together */
static void table_and_next(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_TABLE), 16, 0,
	    VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT);
}

static void buffer_is_the_ring(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_DESC), 3 * HOSTILE_PAGE, 0, VRING_DESC_F_WRITE);
}

const struct hostile_case hostile_packed_cases[] = {
	{ "id 65535", id_past_the_queue },
	{ "buffer where no memory is", buffer_nowhere },
	{ "buffer of 4 GiB", buffer_of_4_gib },
	{ "buffer of 0 bytes", buffer_of_0_bytes },
	{ "buffer for the device to read", buffer_to_read },
	{ "list without end", list_without_end },
	{ "list that stops", list_that_stops },
	{ "all ones", all_ones },
	{ "table of 17 bytes", table_of_17_bytes },
	{ "table of 0 bytes", table_of_0_bytes },
	{ "table where no memory is", table_nowhere },
	{ "table with a next", table_and_next },
	{ "buffer is the ring", buffer_is_the_ring },
	{ }
};
