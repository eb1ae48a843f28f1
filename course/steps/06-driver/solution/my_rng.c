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
	u32 __user *user = (u32 __user *)argument;
	u32 value;

	switch (request) {
	case GET_RANDOM:
		return put_user(ioread32(base), user);
	case SET_SEED:
		if (get_user(value, user))
			return -EFAULT;
		iowrite32(value, base + 4);
		return 0;
	default:
		return -ENOTTY;
	}
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
	int err = pcim_enable_device(pdev);

	if (err)
		return err;
	base = pcim_iomap(pdev, 0, 0);
	if (!base)
		return -ENOMEM;
	return misc_register(&my_rng_misc);
}

static void my_rng_remove(struct pci_dev *pdev)
{
	misc_deregister(&my_rng_misc);
}

static const struct pci_device_id my_rng_ids[] = {
	{ PCI_DEVICE(0x1234, 0xcafe) },
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
