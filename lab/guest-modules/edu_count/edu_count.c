// SPDX-License-Identifier: GPL-2.0-only
/*
 * edu_count - counts interrupts of QEMU's educational device by its pin
 *
 * Each raise has to be seen once.  An interrupt that finds no cause in the
 * status register came from a pin that was lowered already.
 */

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>

#define EDU_BAR			0

#define EDU_IRQ_STATUS		0x24
#define EDU_IRQ_RAISE		0x60
#define EDU_IRQ_ACKNOWLEDGE	0x64

#define EDU_RAISES		1000
/* An emulated device on a busy machine may take its time */
#define EDU_TIMEOUT		(10 * HZ)
#define EDU_SILENCE_MS		100

struct edu_count {
	void __iomem *regs;
	struct completion interrupted;
	int handled;
	int without_cause;
};

static irqreturn_t edu_count_irq(int irq, void *data)
{
	struct edu_count *edu = data;
	u32 causes = ioread32(edu->regs + EDU_IRQ_STATUS);

	if (!causes) {
		edu->without_cause++;
		return IRQ_NONE;
	}
	edu->handled++;
	iowrite32(causes, edu->regs + EDU_IRQ_ACKNOWLEDGE);
	complete(&edu->interrupted);
	return IRQ_HANDLED;
}

static int edu_count_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu_count *edu;
	int err, i, lost = 0;

	edu = devm_kzalloc(&pdev->dev, sizeof(*edu), GFP_KERNEL);
	if (!edu)
		return -ENOMEM;
	init_completion(&edu->interrupted);
	err = pcim_enable_device(pdev);
	if (err)
		return err;
	edu->regs = pcim_iomap(pdev, EDU_BAR, 0);
	if (!edu->regs)
		return -ENOMEM;
	err = devm_request_irq(&pdev->dev, pdev->irq, edu_count_irq, IRQF_SHARED,
			       KBUILD_MODNAME, edu);
	if (err)
		return err;

	for (i = 0; i < EDU_RAISES; i++) {
		reinit_completion(&edu->interrupted);
		iowrite32(1, edu->regs + EDU_IRQ_RAISE);
		if (!wait_for_completion_timeout(&edu->interrupted, EDU_TIMEOUT))
			lost++;
	}
	msleep(EDU_SILENCE_MS);
	pci_info(pdev, "%d raises: handled %d, lost %d, without a cause %d\n",
		 EDU_RAISES, edu->handled, lost, edu->without_cause);
	return 0;
}

static const struct pci_device_id edu_count_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};
MODULE_DEVICE_TABLE(pci, edu_count_ids);

static struct pci_driver edu_count_driver = {
	.name = KBUILD_MODNAME,
	.id_table = edu_count_ids,
	.probe = edu_count_probe,
};
module_pci_driver(edu_count_driver);

MODULE_DESCRIPTION("Counts interrupts of QEMU's educational device");
MODULE_AUTHOR("The my-rng-server authors");
MODULE_LICENSE("GPL");
