#include <linux/init.h>
#include <linux/module.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/uaccess.h>

#include "registers.h"

static long rng_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	u32 value;

	switch (cmd) {
	case _IOR('q', 1, unsigned int):
		return put_user(registers_random(), (u32 __user *)arg);
	case _IOW('q', 1, unsigned int):
		if (get_user(value, (u32 __user *)arg))
			return -EFAULT;
		registers_seed(value);
		return 0;
	}
	return -ENOTTY;
}

static const struct file_operations rng_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = rng_ioctl,
};

static struct miscdevice rng_device = {
	MISC_DYNAMIC_MINOR, "my_rng_driver", &rng_operations
};

static int __init rng_init(void)
{
	int err = registers_map();

	if (err)
		return err;
	err = misc_register(&rng_device);
	if (err)
		registers_unmap();
	return err;
}

static void __exit rng_exit(void)
{
	misc_deregister(&rng_device);
	registers_unmap();
}

module_init(rng_init);
module_exit(rng_exit);
MODULE_LICENSE("Dual BSD/GPL");
