// Driver for the my_rng PCI device (1234:cafe)
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/uaccess.h>

#define RNG_GET _IOR('q', 1, unsigned int)
#define RNG_SEED _IOW('q', 1, unsigned int)
#define RNG_GET64 _IOR('q', 2, __u64)
#define RNG_GET_MODE _IOR('q', 3, unsigned int)
#define RNG_SET_MODE _IOW('q', 3, unsigned int)

static void __iomem *bar;
static DEFINE_MUTEX(lock);

static long rng_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	u32 number, seed;
	u64 number64;

	switch (cmd) {
	case RNG_GET:
		number = readl(bar);
		if (copy_to_user(user, &number, sizeof(number)))
			return -EFAULT;
		break;
	case RNG_SEED:
		if (copy_from_user(&seed, user, sizeof(seed)))
			return -EFAULT;
		writel(seed, bar + 4);
		break;
	case RNG_GET64:
		/* The low half first: it draws the number. The two reads are one. */
		mutex_lock(&lock);
		number64 = readl(bar + 8);
		number64 |= (u64)readl(bar + 12) << 32;
		mutex_unlock(&lock);
		if (copy_to_user(user, &number64, sizeof(number64)))
			return -EFAULT;
		break;
	case RNG_GET_MODE:
		number = readl(bar + 16);
		if (copy_to_user(user, &number, sizeof(number)))
			return -EFAULT;
		break;
	case RNG_SET_MODE:
		if (copy_from_user(&seed, user, sizeof(seed)))
			return -EFAULT;
		writel(seed, bar + 16);
		break;
	default:
		return -ENOTTY;
	}
	return 0;
}

static const struct file_operations rng_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = rng_ioctl,
};

static struct miscdevice rng_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "my_rng_driver",
	.fops = &rng_fops,
};

static int rng_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int ret;

	ret = pci_enable_device(pdev);
	if (ret)
		return ret;
	ret = pci_request_region(pdev, 0, "my_rng");
	if (ret)
		goto disable;
	bar = pci_iomap(pdev, 0, 0);
	if (!bar) {
		ret = -ENOMEM;
		goto release;
	}
	ret = misc_register(&rng_misc);
	if (ret)
		goto unmap;
	return 0;

unmap:
	pci_iounmap(pdev, bar);
release:
	pci_release_region(pdev, 0);
disable:
	pci_disable_device(pdev);
	return ret;
}

static void rng_remove(struct pci_dev *pdev)
{
	misc_deregister(&rng_misc);
	pci_iounmap(pdev, bar);
	pci_release_region(pdev, 0);
	pci_disable_device(pdev);
}

static const struct pci_device_id rng_ids[] = {
	{ PCI_DEVICE(0x1234, 0xcafe) },
	{ }
};
MODULE_DEVICE_TABLE(pci, rng_ids);

static struct pci_driver rng_driver = {
	.name = "my_rng",
	.id_table = rng_ids,
	.probe = rng_probe,
	.remove = rng_remove,
};
module_pci_driver(rng_driver);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("my_rng PCI driver");
