#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#define DEVICE_NAME "my_rng_driver"
#define MMIO_BASE 0xfebf1000UL
#define MMIO_SIZE 4096

#define MY_RNG_IOCTL_RAND _IOR('q', 1, unsigned int)
#define MY_RNG_IOCTL_SEED _IOW('q', 1, unsigned int)

static dev_t number;
static struct cdev cdev;
static struct class *class;
static u8 __iomem *mmio;

static int device_open(struct inode *inode, struct file *file)
{
	return 0;
}

static int device_release(struct inode *inode, struct file *file)
{
	return 0;
}

static long device_ioctl(struct file *file, unsigned int request, unsigned long param)
{
	u32 data;

	if (request == MY_RNG_IOCTL_RAND) {
		data = ioread32(mmio);
		if (copy_to_user((u32 __user *)param, &data, 4))
			return -EFAULT;
		return 0;
	}
	if (request == MY_RNG_IOCTL_SEED) {
		if (copy_from_user(&data, (u32 __user *)param, 4))
			return -EFAULT;
		iowrite32(data, mmio + 4);
		return 0;
	}
	return -ENOTTY;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = device_release,
	.unlocked_ioctl = device_ioctl,
};

static int __init my_rng_start(void)
{
	struct device *device;
	int ret;

	mmio = ioremap(MMIO_BASE, MMIO_SIZE);
	if (!mmio)
		return -ENOMEM;
	ret = alloc_chrdev_region(&number, 0, 1, DEVICE_NAME);
	if (ret)
		goto unmap;
	cdev_init(&cdev, &fops);
	cdev.owner = THIS_MODULE;
	ret = cdev_add(&cdev, number, 1);
	if (ret)
		goto unregister;
	class = class_create(THIS_MODULE, DEVICE_NAME);
	if (IS_ERR(class)) {
		ret = PTR_ERR(class);
		goto delete;
	}
	device = device_create(class, NULL, number, NULL, DEVICE_NAME);
	if (IS_ERR(device)) {
		ret = PTR_ERR(device);
		goto destroy;
	}
	pr_info("my_rng: major number %d\n", MAJOR(number));
	return 0;

destroy:
	class_destroy(class);
delete:
	cdev_del(&cdev);
unregister:
	unregister_chrdev_region(number, 1);
unmap:
	iounmap(mmio);
	return ret;
}

static void __exit my_rng_stop(void)
{
	device_destroy(class, number);
	class_destroy(class);
	cdev_del(&cdev);
	unregister_chrdev_region(number, 1);
	iounmap(mmio);
}

module_init(my_rng_start);
module_exit(my_rng_stop);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("A student");
