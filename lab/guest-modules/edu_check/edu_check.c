// SPDX-License-Identifier: GPL-2.0-only
/*
 * edu_check - tries everything that QEMU's educational device has
 *
 * It says in the kernel log what the device answered, one line for each step
 * and nothing that differs from one run to the next (addresses, times), so that
 * what two devices say can be compared.  The steps are those of the device's
 * documentation, docs/specs/edu.rst in QEMU's source.
 */

#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/iopoll.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/string.h>

static bool intx;
module_param(intx, bool, 0444);
MODULE_PARM_DESC(intx, "Use the interrupt pin instead of MSI");

#define EDU_BAR			0

#define EDU_IDENTIFICATION	0x00
#define EDU_LIVENESS		0x04
#define EDU_FACTORIAL		0x08
#define EDU_STATUS		0x20
#define EDU_IRQ_STATUS		0x24
#define EDU_IRQ_RAISE		0x60
#define EDU_IRQ_ACKNOWLEDGE	0x64
#define EDU_DMA_SOURCE		0x80
#define EDU_DMA_DESTINATION	0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_COMMAND		0x98

#define EDU_STATUS_COMPUTING	0x01
#define EDU_STATUS_IRQ		0x80

#define EDU_DMA_RUN		0x1
#define EDU_DMA_TO_RAM		0x2
#define EDU_DMA_IRQ		0x4

/* The device's own memory, as its DMA registers name it */
#define EDU_BUFFER		0x40000
#define EDU_BUFFER_SIZE		4096
#define EDU_DMA_BITS		28

/* An emulated device on a busy machine may take its time */
#define EDU_PATIENCE_US		(10 * USEC_PER_SEC)
#define EDU_SILENCE_MS		200
/* A transfer takes 100 ms, counted from a millisecond that has begun already */
#define EDU_DMA_US		(99 * USEC_PER_MSEC)

struct edu_check {
	struct pci_dev *pdev;
	void __iomem *regs;
	struct completion interrupted;
	u32 causes;		/* what the last interrupt was for */
	u8 *sent;		/* two areas of EDU_BUFFER_SIZE bytes each */
	u8 *received;
	dma_addr_t sent_at;
	dma_addr_t received_at;
};

static irqreturn_t edu_check_irq(int irq, void *data)
{
	struct edu_check *edu = data;
	u32 causes = ioread32(edu->regs + EDU_IRQ_STATUS);

	if (!causes)
		return IRQ_NONE;

	WRITE_ONCE(edu->causes, causes);
	iowrite32(causes, edu->regs + EDU_IRQ_ACKNOWLEDGE);
	complete(&edu->interrupted);
	return IRQ_HANDLED;
}

/* Forgets earlier interrupts; to be called before the device is told to */
static void edu_check_expect(struct edu_check *edu)
{
	reinit_completion(&edu->interrupted);
	WRITE_ONCE(edu->causes, 0);
}

/* What the interrupt was for, or 0 if there was none */
static u32 edu_check_causes(struct edu_check *edu, unsigned int patience_ms)
{
	wait_for_completion_timeout(&edu->interrupted,
				    msecs_to_jiffies(patience_ms));
	return READ_ONCE(edu->causes);
}

static u32 edu_check_interrupt(struct edu_check *edu)
{
	return edu_check_causes(edu, EDU_PATIENCE_US / USEC_PER_MSEC);
}

static void edu_check_registers(struct edu_check *edu)
{
	static const u32 values[] = { 0, 1, 0x12345678, 0xdeadbeef, 0xffffffff };
	unsigned int i;

	pci_info(edu->pdev, "identification 0x%08x\n",
		 ioread32(edu->regs + EDU_IDENTIFICATION));

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		iowrite32(values[i], edu->regs + EDU_LIVENESS);
		pci_info(edu->pdev, "liveness 0x%08x: 0x%08x\n", values[i],
			 ioread32(edu->regs + EDU_LIVENESS));
	}
}

static void edu_check_factorial(struct edu_check *edu)
{
	static const u32 numbers[] = { 0, 1, 5, 12, 13, 33, 34, 1000 };
	unsigned int i;
	u32 status;
	int err;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		iowrite32(numbers[i], edu->regs + EDU_FACTORIAL);
		err = readl_poll_timeout(edu->regs + EDU_STATUS, status,
					 !(status & EDU_STATUS_COMPUTING),
					 100, EDU_PATIENCE_US);
		pci_info(edu->pdev, "factorial of %u by polling: %u (%d)\n",
			 numbers[i], ioread32(edu->regs + EDU_FACTORIAL), err);
	}

	edu_check_expect(edu);
	iowrite32(EDU_STATUS_IRQ | 0x7f, edu->regs + EDU_STATUS);
	pci_info(edu->pdev, "status 0x%x\n", ioread32(edu->regs + EDU_STATUS));
	iowrite32(10, edu->regs + EDU_FACTORIAL);
	status = edu_check_interrupt(edu);
	pci_info(edu->pdev, "factorial of 10 by interrupt 0x%x: %u\n", status,
		 ioread32(edu->regs + EDU_FACTORIAL));
	iowrite32(0, edu->regs + EDU_STATUS);
}

static void edu_check_interrupts(struct edu_check *edu)
{
	static const u32 causes[] = { 0x1, 0x12345678, 0xffffffff };
	int irq = pci_irq_vector(edu->pdev, 0);
	unsigned int i;
	u32 got;

	for (i = 0; i < ARRAY_SIZE(causes); i++) {
		edu_check_expect(edu);
		iowrite32(causes[i], edu->regs + EDU_IRQ_RAISE);
		got = edu_check_interrupt(edu);
		pci_info(edu->pdev, "raise 0x%x: interrupt 0x%x, then 0x%x\n",
			 causes[i], got,
			 ioread32(edu->regs + EDU_IRQ_STATUS));
	}

	edu_check_expect(edu);
	iowrite32(0, edu->regs + EDU_IRQ_RAISE);
	pci_info(edu->pdev, "raise 0x0: interrupt 0x%x\n",
		 edu_check_causes(edu, EDU_SILENCE_MS));

	/* What is acknowledged in parts stays for the rest */
	disable_irq(irq);
	iowrite32(0x30, edu->regs + EDU_IRQ_RAISE);
	iowrite32(0x3, edu->regs + EDU_IRQ_RAISE);
	pci_info(edu->pdev, "raise 0x30 and 0x3: status 0x%x\n",
		 ioread32(edu->regs + EDU_IRQ_STATUS));
	iowrite32(0x11, edu->regs + EDU_IRQ_ACKNOWLEDGE);
	pci_info(edu->pdev, "acknowledge 0x11: status 0x%x\n",
		 ioread32(edu->regs + EDU_IRQ_STATUS));
	iowrite32(0xffffffff, edu->regs + EDU_IRQ_ACKNOWLEDGE);
	pci_info(edu->pdev, "acknowledge all: status 0x%x\n",
		 ioread32(edu->regs + EDU_IRQ_STATUS));
	enable_irq(irq);
}

static void edu_check_transfer(struct edu_check *edu, u64 source,
			       u64 destination, u64 count, u32 command)
{
	writeq(source, edu->regs + EDU_DMA_SOURCE);
	writeq(destination, edu->regs + EDU_DMA_DESTINATION);
	writeq(count, edu->regs + EDU_DMA_COUNT);
	iowrite32(command | EDU_DMA_RUN, edu->regs + EDU_DMA_COMMAND);
}

static int edu_check_transfer_end(struct edu_check *edu)
{
	u32 command;

	return readl_poll_timeout(edu->regs + EDU_DMA_COMMAND, command,
				  !(command & EDU_DMA_RUN), 1000,
				  EDU_PATIENCE_US);
}

/* To the device and back, at places that differ; what comes back */
static void edu_check_round_trip(struct edu_check *edu, const char *name,
				 u64 high_bits, u32 offset, u32 count)
{
	u32 i;

	for (i = 0; i < EDU_BUFFER_SIZE; i++)
		edu->sent[i] = i * 7 + count;
	memset(edu->received, 0xa5, EDU_BUFFER_SIZE);

	edu_check_transfer(edu, edu->sent_at | high_bits, EDU_BUFFER + offset,
			   count, 0);
	if (edu_check_transfer_end(edu))
		pci_info(edu->pdev, "the first half does not end\n");

	edu_check_transfer(edu, EDU_BUFFER + offset,
			   edu->received_at | high_bits, count, EDU_DMA_TO_RAM);
	if (edu_check_transfer_end(edu))
		pci_info(edu->pdev, "the second half does not end\n");

	for (i = 0; i < EDU_BUFFER_SIZE; i++) {
		u8 wanted = i < count ? edu->sent[i] : 0xa5;

		if (edu->received[i] != wanted)
			break;
	}
	pci_info(edu->pdev, "DMA of %u bytes at %s: %u of %u bytes are right\n",
		 count, name, i, EDU_BUFFER_SIZE);
}

static void edu_check_dma(struct edu_check *edu)
{
	ktime_t begun;
	u32 causes;
	bool waited;

	edu_check_round_trip(edu, "offset 0", 0, 0, EDU_BUFFER_SIZE);
	edu_check_round_trip(edu, "offset 0x7fd", 0, 0x7fd, 100);
	edu_check_round_trip(edu, "the last byte", 0, EDU_BUFFER_SIZE - 1, 1);
	pci_info(edu->pdev, "DMA command afterwards 0x%x\n",
		 ioread32(edu->regs + EDU_DMA_COMMAND));

	/*
	 * The device knows 28 bits of an address.  Further ones are lost, so
	 * that it is our own memory that is reached.
	 */
	edu_check_round_trip(edu, "address bit 28", BIT_ULL(28), 0, 100);
	edu_check_round_trip(edu, "address bit 63", BIT_ULL(63), 0, 100);

	edu_check_expect(edu);
	begun = ktime_get();
	edu_check_transfer(edu, edu->sent_at, EDU_BUFFER, 16, EDU_DMA_IRQ);
	causes = edu_check_interrupt(edu);
	waited = ktime_us_delta(ktime_get(), begun) >= EDU_DMA_US;
	pci_info(edu->pdev, "DMA with interrupt 0x%x: command 0x%x\n", causes,
		 ioread32(edu->regs + EDU_DMA_COMMAND));
	pci_info(edu->pdev, "time to wait for it: %s\n", waited ? "yes" : "no");

	/* A command without its first bit is none */
	edu_check_expect(edu);
	iowrite32(EDU_DMA_TO_RAM | EDU_DMA_IRQ, edu->regs + EDU_DMA_COMMAND);
	causes = edu_check_causes(edu, EDU_SILENCE_MS);
	pci_info(edu->pdev, "no DMA with interrupt 0x%x: command 0x%x\n",
		 causes, ioread32(edu->regs + EDU_DMA_COMMAND));
}

/* Accesses that the documentation rules out, and places without a register */
static void edu_check_odd_accesses(struct edu_check *edu)
{
	static const u32 places[] = {
		0x0c, EDU_IRQ_RAISE, EDU_IRQ_ACKNOWLEDGE, EDU_DMA_SOURCE + 4,
		0xa0, EDU_BUFFER, 0xffffc
	};
	/*
	 * QEMU's own refuses accesses of less than 4 bytes.  A PC's processor
	 * does not notice; an Arm processor does, and the kernel oopses.
	 */
	const bool narrow = IS_ENABLED(CONFIG_X86);
	void __iomem *regs = edu->regs;
	unsigned int i;

	iowrite32(0x01020304, regs + EDU_LIVENESS);
	if (narrow) {
		iowrite8(0x55, regs + EDU_LIVENESS);
		iowrite16(0x5555, regs + EDU_LIVENESS);
	}
	writeq(0x5555555555555555, regs + EDU_IDENTIFICATION);
	pci_info(edu->pdev, "liveness after odd writes 0x%08x\n",
		 ioread32(regs + EDU_LIVENESS));
	if (narrow) {
		pci_info(edu->pdev,
			 "liveness in 1 byte 0x%02x, in 2 bytes 0x%04x\n",
			 ioread8(regs + EDU_LIVENESS),
			 ioread16(regs + EDU_LIVENESS));
		pci_info(edu->pdev, "liveness at its second half 0x%04x\n",
			 ioread16(regs + EDU_LIVENESS + 2));
	}
	pci_info(edu->pdev, "identification in 8 bytes 0x%016llx\n",
		 readq(regs + EDU_IDENTIFICATION));
	pci_info(edu->pdev, "factorial in 8 bytes 0x%016llx\n",
		 readq(regs + EDU_FACTORIAL));

	writeq(0x1122334455667788, regs + EDU_DMA_SOURCE);
	pci_info(edu->pdev, "DMA source in 8 bytes 0x%016llx, in 4 0x%08x\n",
		 readq(regs + EDU_DMA_SOURCE),
		 ioread32(regs + EDU_DMA_SOURCE));
	iowrite32(0xaabbccdd, regs + EDU_DMA_SOURCE + 4);
	if (narrow)
		iowrite16(0x9999, regs + EDU_DMA_SOURCE);
	pci_info(edu->pdev, "DMA source after odd writes 0x%016llx\n",
		 readq(regs + EDU_DMA_SOURCE));
	iowrite32(0xaabbccdd, regs + EDU_DMA_SOURCE);
	pci_info(edu->pdev, "DMA source after a write of 4 bytes 0x%016llx\n",
		 readq(regs + EDU_DMA_SOURCE));

	for (i = 0; i < ARRAY_SIZE(places); i++)
		pci_info(edu->pdev, "place 0x%x: 0x%08x\n", places[i],
			 ioread32(regs + places[i]));
}

static int edu_check_get_memory(struct edu_check *edu)
{
	struct device *dev = &edu->pdev->dev;

	/* On some machines all memory lies higher: there is no DMA then */
	if (dma_set_mask_and_coherent(dev, DMA_BIT_MASK(EDU_DMA_BITS))) {
		pci_info(edu->pdev, "memory within %d bits: none\n",
			 EDU_DMA_BITS);
		return 0;
	}

	edu->sent = dmam_alloc_coherent(dev, 2 * EDU_BUFFER_SIZE,
					&edu->sent_at, GFP_KERNEL);
	if (!edu->sent)
		return -ENOMEM;
	edu->received = edu->sent + EDU_BUFFER_SIZE;
	edu->received_at = edu->sent_at + EDU_BUFFER_SIZE;
	pci_info(edu->pdev, "memory within %d bits: %s\n", EDU_DMA_BITS,
		 edu->received_at >> EDU_DMA_BITS ? "no" : "yes");
	return 0;
}

static int edu_check_set_up(struct edu_check *edu)
{
	struct pci_dev *pdev = edu->pdev;
	struct device *dev = &pdev->dev;
	int err;

	err = pcim_enable_device(pdev);
	if (err)
		return dev_err_probe(dev, err, "cannot enable the device\n");

	err = pcim_iomap_regions(pdev, BIT(EDU_BAR), KBUILD_MODNAME);
	if (err)
		return dev_err_probe(dev, err, "cannot map BAR %d\n", EDU_BAR);
	edu->regs = pcim_iomap_table(pdev)[EDU_BAR];
	pci_info(pdev, "BAR 0 of %llu bytes\n",
		 (u64)pci_resource_len(pdev, EDU_BAR));

	pci_set_master(pdev);
	err = edu_check_get_memory(edu);
	if (err)
		return err;

	init_completion(&edu->interrupted);
	err = pci_alloc_irq_vectors(pdev, 1, 1,
				    intx ? PCI_IRQ_INTX : PCI_IRQ_MSI);
	if (err < 0)
		return dev_err_probe(dev, err, "no interrupt\n");
	err = devm_request_irq(dev, pci_irq_vector(pdev, 0), edu_check_irq,
			       intx ? IRQF_SHARED : 0, KBUILD_MODNAME, edu);
	if (err)
		return dev_err_probe(dev, err, "cannot take the interrupt\n");
	pci_info(pdev, "interrupts by %s\n", pdev->msi_enabled ? "MSI" : "pin");

	return 0;
}

static int edu_check_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu_check *edu;
	int err;

	edu = devm_kzalloc(&pdev->dev, sizeof(*edu), GFP_KERNEL);
	if (!edu)
		return -ENOMEM;
	edu->pdev = pdev;

	err = edu_check_set_up(edu);
	if (err)
		return err;

	edu_check_registers(edu);
	edu_check_factorial(edu);
	edu_check_interrupts(edu);
	if (edu->sent)
		edu_check_dma(edu);
	edu_check_odd_accesses(edu);
	pci_info(pdev, "done\n");
	return 0;
}

static const struct pci_device_id edu_check_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};
MODULE_DEVICE_TABLE(pci, edu_check_ids);

static struct pci_driver edu_check_driver = {
	.name = KBUILD_MODNAME,
	.id_table = edu_check_ids,
	.probe = edu_check_probe,
};
module_pci_driver(edu_check_driver);

MODULE_DESCRIPTION("Tries everything that QEMU's educational device has");
MODULE_AUTHOR("The my-rng-server authors");
MODULE_LICENSE("GPL");
