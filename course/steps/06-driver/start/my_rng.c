// A driver for my_rng, PCI 1234:cafe
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/uaccess.h>

#define GET_RANDOM _IOR('q', 1, unsigned int)
#define SET_SEED _IOW('q', 1, unsigned int)

/* Where BAR 0 is for the kernel. */
static void __iomem *base;

static long my_rng_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	/* TODO: GET_RANDOM, SET_SEED, and what is unknown */
	return 0;
}

static const struct file_operations my_rng_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = my_rng_ioctl,
};

static struct miscdevice my_rng_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "my_rng_driver",
	.fops = &my_rng_fops,
};

static int my_rng_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	/* TODO: enable the device, map BAR 0, register my_rng_misc */
	return 0;
}

static void my_rng_remove(struct pci_dev *pdev)
{
	/* TODO: what has probe registered? */
}

static const struct pci_device_id my_rng_ids[] = {
	/* TODO: which device? */
	{ }
};
MODULE_DEVICE_TABLE(pci, my_rng_ids);

static struct pci_driver my_rng_driver = {
	.name = "my_rng",
	.id_table = my_rng_ids,
	.probe = my_rng_probe,
	.remove = my_rng_remove,
};
module_pci_driver(my_rng_driver);

MODULE_DESCRIPTION("A driver for my_rng");
MODULE_LICENSE("GPL");
