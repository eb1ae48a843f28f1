// SPDX-License-Identifier: GPL-2.0-only
/*
 * irq_dma_test - counts a PCI device's interrupts and lends it memory for DMA
 *
 * It leaves the registers to programs, which map BAR 0 as they do without a
 * driver. What it found is in its parameters; /dev/irq_dma_test has the memory.
 */

#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>

#define MEMORY_SIZE	(4 * 4096)
#define MAX_VECTORS	32

static ushort vendor = 0x1234;
module_param(vendor, ushort, 0444);
static ushort device = 0xcafe;
module_param(device, ushort, 0444);
static char *kind = "any";
module_param(kind, charp, 0444);
MODULE_PARM_DESC(kind, "intx, msi, msi-x, any; or none");
static uint vectors = 1;
module_param(vectors, uint, 0444);

/* What the device was given, or why nothing. */
static char *found = "no device";
module_param(found, charp, 0444);
static uint interrupts[MAX_VECTORS];
static uint interrupts_count;
module_param_array(interrupts, uint, &interrupts_count, 0444);
static unsigned long long address;
module_param(address, ullong, 0444);

static struct pci_dev *bound;
static u8 *memory;
static atomic_t masked;

static irqreturn_t irq_dma_test_irq(int irq, void *data)
{
	uint *count = data;

	(*count)++;
	/* A pin stays asserted until a program acknowledges it. */
	if (!bound->msi_enabled && !bound->msix_enabled) {
		disable_irq_nosync(irq);
		atomic_set(&masked, 1);
	}
	return IRQ_HANDLED;
}

/* Lets the next interrupt of a pin come. */
static int rearm_set(const char *value, const struct kernel_param *param)
{
	if (bound && atomic_xchg(&masked, 0))
		enable_irq(pci_irq_vector(bound, 0));
	return 0;
}

static const struct kernel_param_ops rearm_ops = { .set = rearm_set };
module_param_cb(rearm, &rearm_ops, NULL, 0200);

static ssize_t memory_read(struct file *file, char __user *to, size_t size,
			   loff_t *at)
{
	return simple_read_from_buffer(to, size, at, memory, MEMORY_SIZE);
}

static const struct file_operations memory_fops = {
	.owner = THIS_MODULE,
	.read = memory_read,
	.llseek = default_llseek,
};

static struct miscdevice memory_node = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "irq_dma_test",
	.fops = &memory_fops,
};

static uint flags(void)
{
	if (!strcmp(kind, "intx"))
		return PCI_IRQ_INTX;
	if (!strcmp(kind, "msi"))
		return PCI_IRQ_MSI;
	if (!strcmp(kind, "msi-x"))
		return PCI_IRQ_MSIX;
	return PCI_IRQ_ALL_TYPES;
}

static int request_vectors(struct pci_dev *pdev)
{
	uint i, kinds = flags();
	int err;

	if (!pdev->pin)
		kinds &= ~PCI_IRQ_INTX;
	err = pci_alloc_irq_vectors(pdev, vectors, vectors, kinds);
	if (err < 0) {
		found = "no interrupt";
		return err;
	}
	for (i = 0; i < vectors; i++) {
		err = devm_request_irq(&pdev->dev, pci_irq_vector(pdev, i),
				       irq_dma_test_irq, 0, KBUILD_MODNAME,
				       &interrupts[i]);
		if (err) {
			found = "an interrupt that another driver has";
			return err;
		}
	}
	found = pdev->msix_enabled ? "msi-x" : pdev->msi_enabled ? "msi" : "intx";
	return 0;
}

static int irq_dma_test_probe(struct pci_dev *pdev,
			      const struct pci_device_id *id)
{
	dma_addr_t bus_address;
	uint i;
	int err;

	if (bound)
		return -EBUSY;
	err = pcim_enable_device(pdev);
	if (err)
		return err;
	pci_set_master(pdev);
	/* Where a register of 32 bits reaches. */
	err = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(32));
	if (err)
		return err;
	memory = dmam_alloc_coherent(&pdev->dev, MEMORY_SIZE, &bus_address,
				     GFP_KERNEL);
	if (!memory)
		return -ENOMEM;
	/* The checker knows the pattern. */
	for (i = 0; i < MEMORY_SIZE; i++)
		memory[i] = i * 167 + (i >> 8) * 13;
	address = bus_address;
	bound = pdev;
	found = "none";
	if (strcmp(kind, "none")) {
		err = request_vectors(pdev);
		if (err)
			goto unbind;
	}
	err = misc_register(&memory_node);
	if (err)
		goto unbind;
	return 0;

unbind:
	bound = NULL;
	return err;
}

static void irq_dma_test_remove(struct pci_dev *pdev)
{
	misc_deregister(&memory_node);
	bound = NULL;
}

/* The first entry is filled when the module is loaded. */
static struct pci_device_id irq_dma_test_ids[2];

static struct pci_driver irq_dma_test_driver = {
	.name = KBUILD_MODNAME,
	.id_table = irq_dma_test_ids,
	.probe = irq_dma_test_probe,
	.remove = irq_dma_test_remove,
};

static int __init irq_dma_test_init(void)
{
	if (vectors < 1 || vectors > MAX_VECTORS)
		return -EINVAL;
	interrupts_count = vectors;
	irq_dma_test_ids[0] = (struct pci_device_id) { PCI_DEVICE(vendor, device) };
	return pci_register_driver(&irq_dma_test_driver);
}
module_init(irq_dma_test_init);

static void __exit irq_dma_test_exit(void)
{
	pci_unregister_driver(&irq_dma_test_driver);
}
module_exit(irq_dma_test_exit);

MODULE_DESCRIPTION("Counts a PCI device's interrupts and lends it memory for DMA");
MODULE_AUTHOR("The my-rng-server authors");
MODULE_LICENSE("GPL");
