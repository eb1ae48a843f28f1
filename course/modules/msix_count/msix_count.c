// SPDX-License-Identifier: GPL-2.0-only
/*
 * msix_count - has the course's device make numbers, and counts interrupts
 *
 * Prints how many numbers it asked for, how many became ready, how many
 * interrupts came, and how many numbers were 0.
 */

#include <linux/completion.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>

#define CONTROL		0x8
#define STATUS		0xc
#define NUMBER		0x10
#define MAKE		1
#define READY		1

#define NUMBERS		5
#define TIMEOUT		(2 * HZ)

struct msix_count {
	void __iomem *regs;
	struct completion interrupted;
	unsigned int interrupts;
};

static irqreturn_t msix_count_irq(int irq, void *data)
{
	struct msix_count *count = data;

	count->interrupts++;
	complete(&count->interrupted);
	return IRQ_HANDLED;
}

static int msix_count_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	unsigned int i, ready = 0, zeros = 0;
	struct msix_count *count;
	int err;

	count = devm_kzalloc(&pdev->dev, sizeof(*count), GFP_KERNEL);
	if (!count)
		return -ENOMEM;
	init_completion(&count->interrupted);
	err = pcim_enable_device(pdev);
	if (err)
		return err;
	pci_set_master(pdev);
	count->regs = pcim_iomap(pdev, 0, 0);
	if (!count->regs)
		return -ENOMEM;
	err = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSIX);
	if (err < 0) {
		pci_info(pdev, "no MSI-X (%d)\n", err);
		return err;
	}
	err = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, 0), msix_count_irq,
			       0, KBUILD_MODNAME, count);
	if (err)
		return err;

	for (i = 0; i < NUMBERS; i++) {
		iowrite32(MAKE, count->regs + CONTROL);
		wait_for_completion_timeout(&count->interrupted, TIMEOUT);
		if (ioread32(count->regs + STATUS) & READY)
			ready++;
		if (!ioread32(count->regs + NUMBER))
			zeros++;
		iowrite32(READY, count->regs + STATUS);
	}
	pr_info("msix_count: numbers %u %u %u %u\n", NUMBERS, ready,
		count->interrupts, zeros);
	return 0;
}

static const struct pci_device_id msix_count_ids[] = {
	{ PCI_DEVICE(0x1234, 0xcafe) },
	{ }
};
MODULE_DEVICE_TABLE(pci, msix_count_ids);

static struct pci_driver msix_count_driver = {
	.name = KBUILD_MODNAME,
	.id_table = msix_count_ids,
	.probe = msix_count_probe,
};
module_pci_driver(msix_count_driver);

MODULE_DESCRIPTION("Counts interrupts of the course's device by MSI-X");
MODULE_AUTHOR("The my-rng-server authors");
MODULE_LICENSE("GPL");
