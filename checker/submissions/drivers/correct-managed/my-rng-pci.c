#include <linux/module.h>
#include <linux/pci.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>

/* Everything belongs to the device, and goes with it. */
struct my_rng {
	struct miscdevice misc;
	struct mutex lock;
	void __iomem *base;
};

static long my_rng_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct my_rng *rng = container_of(file->private_data, struct my_rng, misc);
	u32 __user *user = (u32 __user *)arg;
	long err = 0;
	u32 value;

	mutex_lock(&rng->lock);
	switch (cmd) {
	case _IOR('q', 1, unsigned int):
		err = put_user(ioread32(rng->base), user);
		break;
	case _IOW('q', 1, unsigned int):
		err = get_user(value, user);
		if (!err)
			iowrite32(value, rng->base + 4);
		break;
	default:
		err = -ENOTTY;
	}
	mutex_unlock(&rng->lock);
	return err;
}

static const struct file_operations my_rng_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = my_rng_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static void my_rng_deregister(void *misc)
{
	misc_deregister(misc);
}

static int my_rng_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct my_rng *rng = devm_kzalloc(&pdev->dev, sizeof(*rng), GFP_KERNEL);
	int err;

	if (!rng)
		return -ENOMEM;
	err = pcim_enable_device(pdev);
	if (err)
		return err;
	rng->base = pcim_iomap(pdev, 0, 0);
	if (!rng->base)
		return -ENOMEM;
	mutex_init(&rng->lock);
	rng->misc.minor = MISC_DYNAMIC_MINOR;
	rng->misc.name = "my_rng_driver";
	rng->misc.fops = &my_rng_fops;
	rng->misc.mode = 0666;
	err = misc_register(&rng->misc);
	if (err)
		return err;
	return devm_add_action_or_reset(&pdev->dev, my_rng_deregister, &rng->misc);
}

static const struct pci_device_id my_rng_table[] = {
	{ PCI_DEVICE(0x1234, 0xcafe) },
	{ }
};
MODULE_DEVICE_TABLE(pci, my_rng_table);

static struct pci_driver my_rng_pci_driver = {
	.name = KBUILD_MODNAME,
	.id_table = my_rng_table,
	.probe = my_rng_probe,
};
module_pci_driver(my_rng_pci_driver);
MODULE_LICENSE("GPL");
