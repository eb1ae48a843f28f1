/*
 * For drivers/char: compiled into the kernel, with obj-y += my_rng.o there.
 * Make the node by hand: mknod /dev/my_rng_driver c 250 0
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/uaccess.h>

#define MY_RNG_MAJOR 250

static void *my_rng_mem;

static long my_rng_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	unsigned int buf;

	if (cmd == _IOR('q', 1, unsigned int)) {
		buf = *(volatile unsigned int *)my_rng_mem;
		if (copy_to_user((void *)arg, &buf, sizeof(unsigned int)))
			return -EFAULT;
	} else if (cmd == _IOW('q', 1, unsigned int)) {
		if (copy_from_user(&buf, (void *)arg, sizeof(unsigned int)))
			return -EFAULT;
		*((volatile unsigned int *)my_rng_mem + 1) = buf;
	} else {
		return -EINVAL;
	}
	return 0;
}

static struct file_operations my_rng_fops = {
	.unlocked_ioctl = my_rng_ioctl,
};

static int my_rng_setup(void)
{
	my_rng_mem = ioremap(0xfebf1000, 4096);
	return register_chrdev(MY_RNG_MAJOR, "my_rng", &my_rng_fops);
}
device_initcall(my_rng_setup);
