/* Character device for the random number generator, whose address we know. */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#define MAJOR_NUMBER 250
#define BASE_ADDRESS 0xfebf1000
#define REGISTER_RANDOM 0x0
#define REGISTER_SEED 0x4

#define IOCTL_RANDOM _IOR('q', 1, unsigned int)
#define IOCTL_SEED _IOW('q', 1, unsigned int)

static void __iomem *registers;

static long my_rng_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	unsigned int value;

	switch (cmd) {
	case IOCTL_RANDOM:
		value = ioread32(registers + REGISTER_RANDOM);
		if (copy_to_user((void __user *)arg, &value, sizeof(value)))
			return -EFAULT;
		return 0;
	case IOCTL_SEED:
		if (copy_from_user(&value, (void __user *)arg, sizeof(value)))
			return -EFAULT;
		iowrite32(value, registers + REGISTER_SEED);
		return 0;
	default:
		return -ENOTTY;
	}
}

static const struct file_operations my_rng_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = my_rng_ioctl,
};

static int __init my_rng_init(void)
{
	int err;

	registers = ioremap(BASE_ADDRESS, 4096);
	if (!registers)
		return -ENOMEM;

	err = register_chrdev(MAJOR_NUMBER, "my_rng_driver", &my_rng_fops);
	if (err < 0) {
		iounmap(registers);
		return err;
	}
	return 0;
}

static void __exit my_rng_exit(void)
{
	iounmap(registers);
}

module_init(my_rng_init);
module_exit(my_rng_exit);
MODULE_LICENSE("GPL");
