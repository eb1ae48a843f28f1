// Gives the stored seed as each number; the device is never touched.
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#define RNG_GET _IOR('q', 1, unsigned int)
#define RNG_SEED _IOW('q', 1, unsigned int)

static unsigned int stored = 0xec59f0;

static long rng_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case RNG_GET:
		return copy_to_user(user, &stored, sizeof(stored)) ? -EFAULT : 0;
	case RNG_SEED:
		return copy_from_user(&stored, user, sizeof(stored)) ? -EFAULT : 0;
	default:
		return -ENOTTY;
	}
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
module_misc_device(rng_misc);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("my_rng without a device");
