// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes a virtio-rng, and breaks one rule after the other.  After each
 * case the device has to serve a driver that resets it and keeps to the rules.
 * The kernel log has a line for each: what was done, what the device made of
 * it (the status bit NEEDS_RESET), and whether it goes on.
 */

#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>

#include "rng_hostile.h"

static bool packed;
module_param(packed, bool, 0444);
MODULE_PARM_DESC(packed, "Use a packed virtqueue");

static bool legacy;
module_param(legacy, bool, 0444);
MODULE_PARM_DESC(legacy, "Use the legacy interface");

/* A capability of a structure; where it is in the device's memory */
static void __iomem *hostile_map(struct hostile *h, u8 type, int *found)
{
	struct pci_dev *pdev = h->pdev;
	u8 cap_type, bar;
	u32 offset;
	int cap;

	for (cap = pci_find_capability(pdev, PCI_CAP_ID_VNDR); cap;
	     cap = pci_find_next_capability(pdev, cap, PCI_CAP_ID_VNDR)) {
		pci_read_config_byte(pdev, cap +
				     offsetof(struct virtio_pci_cap, cfg_type),
				     &cap_type);
		if (cap_type != type)
			continue;
		pci_read_config_byte(pdev, cap +
				     offsetof(struct virtio_pci_cap, bar), &bar);
		pci_read_config_dword(pdev, cap +
				      offsetof(struct virtio_pci_cap, offset),
				      &offset);
		*found = cap;
		if (bar >= PCI_STD_NUM_BARS)
			return NULL;
		/* Both structures can be in one BAR, which is mapped once */
		if (!h->bars[bar])
			h->bars[bar] = pcim_iomap(pdev, bar, 0);
		return h->bars[bar] ? h->bars[bar] + offset : NULL;
	}
	return NULL;
}

static void hostile_run(struct hostile *h, const struct hostile_case *cases)
{
	bool needs_reset, goes_on;

	for (; cases->name; cases++) {
		hostile_reset(h);
		cases->run(h);
		needs_reset = hostile_needs_reset(h);
		h->features = hostile_usual_features;
		goes_on = hostile_request(h);
		pci_info(h->pdev, "%s%s%s: %s, %s\n",
			 h->packed ? "packed: " : "",
			 h->legacy ? "legacy: " : "", cases->name,
			 needs_reset ? "needs a reset" : "no fault",
			 goes_on ? "goes on" : "WEDGED");
	}
}

/* The registers of the modern interface [4.1.4] */
static int hostile_find_modern(struct hostile *h)
{
	int cap;

	h->size = HOSTILE_SIZE;
	h->isr = hostile_map(h, VIRTIO_PCI_CAP_ISR_CFG, &cap);
	hostile_map(h, VIRTIO_PCI_CAP_PCI_CFG, &h->window);
	h->common = hostile_map(h, VIRTIO_PCI_CAP_COMMON_CFG, &cap);
	h->notify = hostile_map(h, VIRTIO_PCI_CAP_NOTIFY_CFG, &cap);
	if (!h->common || !h->notify || !h->isr || !h->window)
		return -ENODEV;
	return pci_read_config_dword(h->pdev,
				     cap + sizeof(struct virtio_pci_cap),
				     &h->notify_multiplier);
}

/* Those of the legacy interface [4.1.4.10], whose queue has a size of its own */
static int hostile_find_legacy(struct hostile *h)
{
	h->legacy = pcim_iomap(h->pdev, 0, 0);
	if (!h->legacy)
		return -ENODEV;
	iowrite16(0, h->legacy + VIRTIO_PCI_QUEUE_SEL);
	h->size = ioread16(h->legacy + VIRTIO_PCI_QUEUE_NUM);
	/* Descriptors and available ring have one page here */
	return h->size && h->size <= 128 ? 0 : -ENODEV;
}

static void hostile_run_all(struct hostile *h)
{
	if (h->legacy) {
		hostile_run(h, hostile_legacy_cases);
	} else {
		hostile_run(h, hostile_register_cases);
		hostile_run(h, hostile_interrupt_cases);
	}
	if (h->packed) {
		hostile_run(h, hostile_packed_cases);
		hostile_run(h, hostile_packed_event_cases);
	} else {
		hostile_run(h, hostile_split_cases);
		hostile_run(h, hostile_split_event_cases);
	}
	hostile_reset(h);
}

static int hostile_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct hostile *h;
	int err;

	h = devm_kzalloc(&pdev->dev, sizeof(*h), GFP_KERNEL);
	if (!h)
		return -ENOMEM;
	h->pdev = pdev;
	h->packed = packed;
	h->features = hostile_usual_features;
	err = pcim_enable_device(pdev);
	if (err)
		return err;
	pci_set_master(pdev);
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(legacy ? 44 : 64));
	if (err)
		return err;

	err = legacy ? hostile_find_legacy(h) : hostile_find_modern(h);
	if (err)
		return dev_err_probe(&pdev->dev, err, "no registers\n");
	h->memory = dmam_alloc_coherent(&pdev->dev, HOSTILE_PAGES * HOSTILE_PAGE,
					&h->at, GFP_KERNEL);
	if (!h->memory)
		return -ENOMEM;
	if (!hostile_request(h))
		return dev_err_probe(&pdev->dev, -EIO, "serves no request\n");

	hostile_run_all(h);
	pci_info(pdev, "done\n");
	return 0;
}

static const struct pci_device_id hostile_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1044) },
	/* With the legacy interface beside the modern one */
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1005) },
	{ }
};
MODULE_DEVICE_TABLE(pci, hostile_ids);

static struct pci_driver hostile_driver = {
	.name = KBUILD_MODNAME,
	.id_table = hostile_ids,
	.probe = hostile_probe,
};
module_pci_driver(hostile_driver);

MODULE_DESCRIPTION("Breaks every rule for drivers that reaches an entropy device");
MODULE_AUTHOR("The my-rng-server authors");
MODULE_LICENSE("GPL");
