/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * rng_hostile - a driver that breaks every rule for drivers of virtio 1.2 that
 * reaches an entropy device
 *
 * The numbers in brackets are sections of the specification.
 */
#ifndef RNG_HOSTILE_H
#define RNG_HOSTILE_H

#include <linux/pci.h>
#include <linux/types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

/* Descriptors in the queue that is set up */
#define HOSTILE_SIZE	8
#define HOSTILE_PAGE	4096
/* Bytes of the request that a device has to serve after each case */
#define HOSTILE_REQUEST	64

/* Offsets in the driver's memory, a page each */
enum hostile_page {
	HOSTILE_DESC,
	HOSTILE_AVAIL,
	HOSTILE_USED,
	HOSTILE_TABLE,
	HOSTILE_BUFFER,
	/* So much may a device write into a buffer of 4 GiB */
	HOSTILE_PAGES = HOSTILE_BUFFER + 64 * 1024 / HOSTILE_PAGE,
};

struct hostile {
	struct pci_dev *pdev;
	void __iomem *bars[PCI_STD_NUM_BARS];
	struct virtio_pci_common_cfg __iomem *common;
	void __iomem *notify;
	u32 notify_multiplier;
	u8 __iomem *isr;
	/* The capability by which the registers are reached, too [4.1.4.9] */
	int window;
	/* Registers of the legacy interface */
	void __iomem *legacy;
	bool packed;
	/* What is accepted of the features that the device offers */
	u64 features;
	/* Descriptors in the queue */
	u16 size;
	void *memory;
	dma_addr_t at;
};

struct hostile_case {
	const char *name;
	void (*run)(struct hostile *h);
};

/* A page of the driver's memory, and where the device finds it */
static inline void *page(struct hostile *h, enum hostile_page which)
{
	return h->memory + which * HOSTILE_PAGE;
}

static inline dma_addr_t page_at(struct hostile *h, enum hostile_page which)
{
	return h->at + which * HOSTILE_PAGE;
}

/* The rings of a split queue. Those of the legacy interface follow each other [2.7.2] */
static inline struct vring_avail *hostile_avail(struct hostile *h)
{
	if (h->legacy)
		return page(h, HOSTILE_DESC) + h->size * sizeof(struct vring_desc);
	return page(h, HOSTILE_AVAIL);
}

static inline struct vring_used *hostile_used(struct hostile *h)
{
	return page(h, h->legacy ? HOSTILE_DESC + 1 : HOSTILE_USED);
}

/* No memory of any machine */
#define HOSTILE_NOWHERE	0x7ffffffff000ULL

/* device.c: what a driver does that keeps to the rules */
extern const u64 hostile_usual_features;
bool hostile_reset(struct hostile *h);
u8 hostile_status(struct hostile *h);
void hostile_set_status(struct hostile *h, u8 status);
void hostile_set_features(struct hostile *h, u64 features);
u64 hostile_features(struct hostile *h);
bool hostile_negotiate(struct hostile *h);
void hostile_set_queue(struct hostile *h, u16 size, u64 desc, u64 driver,
		       u64 device);
void hostile_enable(struct hostile *h);
bool hostile_start(struct hostile *h);
void hostile_notify(struct hostile *h, u16 queue);
void hostile_put_request(struct hostile *h);
bool hostile_needs_reset(struct hostile *h);
bool hostile_completes(struct hostile *h);
bool hostile_request(struct hostile *h);

/* split.c, packed.c: the rings */
void hostile_split_put(struct hostile *h, u16 at, u64 address, u32 length,
		       u16 flags, u16 next);
void hostile_split_offer(struct hostile *h, u16 head, u16 index);
void hostile_packed_put(struct hostile *h, u16 at, u64 address, u32 length,
			u16 id, u16 flags);

extern const struct hostile_case hostile_register_cases[];
extern const struct hostile_case hostile_split_cases[];
extern const struct hostile_case hostile_packed_cases[];
extern const struct hostile_case hostile_legacy_cases[];
extern const struct hostile_case hostile_interrupt_cases[];
extern const struct hostile_case hostile_split_event_cases[];
extern const struct hostile_case hostile_packed_event_cases[];

#endif
