// SPDX-License-Identifier: GPL-2.0-only
/* Rules about the split virtqueue [2.7] */

#include "rng_hostile.h"

void hostile_split_put(struct hostile *h, u16 at, u64 address, u32 length,
		       u16 flags, u16 next)
{
	struct vring_desc *desc = page(h, HOSTILE_DESC);

	desc[at].addr = cpu_to_le64(address);
	desc[at].len = cpu_to_le32(length);
	desc[at].flags = cpu_to_le16(flags);
	desc[at].next = cpu_to_le16(next);
}

/* Offers a chain, and says that so many have been offered */
void hostile_split_offer(struct hostile *h, u16 head, u16 index)
{
	struct vring_avail *avail = hostile_avail(h);

	avail->ring[(u16)(index - 1) % h->size] = cpu_to_le16(head);
	/* The chain is written before the index that offers it */
	dma_wmb();
	WRITE_ONCE(avail->idx, cpu_to_le16(index));
}

/* A queue with one chain, of one descriptor */
static void one(struct hostile *h, u64 address, u32 length, u16 flags, u16 next)
{
	hostile_start(h);
	hostile_split_put(h, 0, address, length, flags, next);
	hostile_split_offer(h, 0, 1);
	hostile_notify(h, 0);
}

static void loop(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), 16,
	    VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 0);
}

static void next_past_the_queue(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), 16,
	    VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, h->size);
}

static void next_65535(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), 16,
	    VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 65535);
}

static void buffer_nowhere(struct hostile *h)
{
	one(h, HOSTILE_NOWHERE, 64, VRING_DESC_F_WRITE, 0);
}

static void buffer_at_the_end(struct hostile *h)
{
	one(h, ~0ULL, 64, VRING_DESC_F_WRITE, 0);
}

static void buffer_of_4_gib(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), ~0U, VRING_DESC_F_WRITE, 0);
}

static void buffer_of_0_bytes(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), 0, VRING_DESC_F_WRITE, 0);
}

/* [5.4.6.1] the driver MUST NOT place driver-readable buffers into the queue */
static void buffer_to_read(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), 64, 0, 0);
}

static void unknown_flags(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_BUFFER), 64, 0xfff8 | VRING_DESC_F_WRITE, 0);
}

/* [2.7.4.2] readable buffers come before writable ones */
static void read_after_write(struct hostile *h)
{
	hostile_start(h);
	hostile_split_put(h, 0, page_at(h, HOSTILE_BUFFER), 16,
			  VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	hostile_split_put(h, 1, page_at(h, HOSTILE_BUFFER), 16, 0, 0);
	hostile_split_offer(h, 0, 1);
	hostile_notify(h, 0);
}

static void head_past_the_queue(struct hostile *h)
{
	hostile_start(h);
	hostile_split_offer(h, h->size, 1);
	hostile_notify(h, 0);
}

/* [2.7.13.3] more chains than the queue has descriptors */
static void index_jumps(struct hostile *h)
{
	hostile_start(h);
	hostile_split_put(h, 0, page_at(h, HOSTILE_BUFFER), 64,
			  VRING_DESC_F_WRITE, 0);
	hostile_split_offer(h, 0, 1000);
	hostile_notify(h, 0);
}

/* [2.7.13.3.1] the driver MUST NOT decrement the index */
static void index_goes_back(struct hostile *h)
{
	hostile_start(h);
	hostile_split_put(h, 0, page_at(h, HOSTILE_BUFFER), 64,
			  VRING_DESC_F_WRITE, 0);
	hostile_split_offer(h, 0, 1);
	hostile_notify(h, 0);
	/* A device that has not seen the index yet cannot see it go back */
	hostile_completes(h);
	hostile_split_offer(h, 0, 0);
	hostile_notify(h, 0);
}

/* The rings as the device's buffer: it overwrites what it reads */
static void buffer_is_the_ring(struct hostile *h)
{
	one(h, page_at(h, HOSTILE_DESC), 3 * HOSTILE_PAGE, VRING_DESC_F_WRITE, 0);
}

/* A table of so many bytes at an address [2.7.5.3] */
static void indirect(struct hostile *h, u64 address, u32 length, u16 flags)
{
	struct vring_desc *table = page(h, HOSTILE_TABLE);
	u16 at;

	hostile_start(h);
	for (at = 0; at < HOSTILE_PAGE / sizeof(*table); at++) {
		table[at].addr = cpu_to_le64(page_at(h, HOSTILE_BUFFER));
		table[at].len = cpu_to_le32(16);
		table[at].flags = cpu_to_le16(VRING_DESC_F_WRITE |
					      VRING_DESC_F_NEXT);
		table[at].next = cpu_to_le16(at + 1);
	}
	hostile_split_put(h, 0, address, length, flags, 0);
	hostile_split_offer(h, 0, 1);
	hostile_notify(h, 0);
}

static void table_of_17_bytes(struct hostile *h)
{
	indirect(h, page_at(h, HOSTILE_TABLE), 17, VRING_DESC_F_INDIRECT);
}

static void table_of_0_bytes(struct hostile *h)
{
	indirect(h, page_at(h, HOSTILE_TABLE), 0, VRING_DESC_F_INDIRECT);
}

static void table_longer_than_the_queue(struct hostile *h)
{
	indirect(h, page_at(h, HOSTILE_TABLE), HOSTILE_PAGE,
		 VRING_DESC_F_INDIRECT);
}

static void table_nowhere(struct hostile *h)
{
	indirect(h, HOSTILE_NOWHERE, 64, VRING_DESC_F_INDIRECT);
}

static void table_and_next(struct hostile *h)
{
	indirect(h, page_at(h, HOSTILE_TABLE), 16,
		 VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT);
}

static void table_in_a_table(struct hostile *h)
{
	struct vring_desc *table = page(h, HOSTILE_TABLE);

	hostile_start(h);
	table->addr = cpu_to_le64(page_at(h, HOSTILE_TABLE));
	table->len = cpu_to_le32(16);
	table->flags = cpu_to_le16(VRING_DESC_F_INDIRECT);
	hostile_split_put(h, 0, page_at(h, HOSTILE_TABLE), 16,
			  VRING_DESC_F_INDIRECT, 0);
	hostile_split_offer(h, 0, 1);
	hostile_notify(h, 0);
}

const struct hostile_case hostile_split_cases[] = {
	{ "descriptor loop", loop },
	{ "next past the queue", next_past_the_queue },
	{ "next 65535", next_65535 },
	{ "buffer where no memory is", buffer_nowhere },
	{ "buffer past the end of the address space", buffer_at_the_end },
	{ "buffer of 4 GiB", buffer_of_4_gib },
	{ "buffer of 0 bytes", buffer_of_0_bytes },
	{ "buffer for the device to read", buffer_to_read },
	{ "unknown flags", unknown_flags },
	{ "readable behind writable", read_after_write },
	{ "head past the queue", head_past_the_queue },
	{ "index jumps", index_jumps },
	{ "index goes back", index_goes_back },
	{ "buffer is the ring", buffer_is_the_ring },
	{ "table of 17 bytes", table_of_17_bytes },
	{ "table of 0 bytes", table_of_0_bytes },
	{ "table longer than the queue", table_longer_than_the_queue },
	{ "table where no memory is", table_nowhere },
	{ "table with a next", table_and_next },
	{ "table in a table", table_in_a_table },
	{ }
};
