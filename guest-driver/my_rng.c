// SPDX-License-Identifier: GPL-2.0-only
/*
 * my_rng - driver for a teaching PCI random number generator
 *
 * Each device found gets a character device (two ioctls and read()) and an
 * entry in the kernel's hardware RNG framework.
 *
 * Lifetime: a device can be unplugged, or unbound through sysfs, while programs
 * have it open.  The PCI resources go at once, but struct my_rng stays until
 * the last open file is closed; in between, my_rng->regs is NULL and every
 * request ends with -ENODEV.
 *
 * Snapshots: the device's configuration is no part of what a virtual machine
 * saves.  After a restore, memory decoding is off and BAR 0 is empty, and the
 * reads that no device decodes give 0 or all ones, which are legal numbers.  So
 * these two are checked against the configuration space, which is restored from
 * what it was when the driver was bound.
 */

#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/hw_random.h>
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "my_rng.h"

#define MY_RNG_BAR		0

/* Any user may read numbers and seed, as programs for this device expect */
#define MY_RNG_MODE		0666

/*
 * Each register read leaves the virtual machine, so the numbers read while
 * holding the lock (and between two looks for a signal) have to be few.
 */
#define MY_RNG_CHUNK		64

/* What a read of absent hardware returns.  Also a legal random number! */
#define MY_RNG_ALL_ONES		((u32)~0)

struct my_rng {
	struct kref ref;	/* the bound driver, and each open file */
	struct mutex lock;	/* one user of the registers at a time */
	void __iomem *regs;	/* under lock; NULL unless device is usable */
	struct pci_dev *pdev;	/* valid while regs is set */
	struct pci_saved_state *saved;	/* the configuration to go back to */
	struct miscdevice misc;
	struct hwrng hwrng;
	int id;
	char node_name[24];
	char hwrng_name[24];
};

static DEFINE_IDA(my_rng_ids);

/* Octal with or without a leading 0, as chmod has it */
static int my_rng_set_mode(const char *text, const struct kernel_param *param)
{
	u16 mode;
	int err = kstrtou16(text, 8, &mode);

	if (err)
		return err;
	if (mode & ~MY_RNG_MODE)
		return -EINVAL;

	*(umode_t *)param->arg = mode;
	return 0;
}

static int my_rng_get_mode(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%#o\n", *(umode_t *)param->arg);
}

static const struct kernel_param_ops my_rng_mode_ops = {
	.set = my_rng_set_mode,
	.get = my_rng_get_mode,
};

static umode_t mode = MY_RNG_MODE;
module_param_cb(mode, &my_rng_mode_ops, &mode, 0444);
MODULE_PARM_DESC(mode, "Permissions of the device nodes, octal (default 0666)");

static void my_rng_free(struct kref *ref)
{
	struct my_rng *my_rng = container_of(ref, struct my_rng, ref);

	kfree(my_rng->saved);
	kfree(my_rng);
}

static int my_rng_lock(struct my_rng *my_rng, bool nonblock)
{
	if (nonblock) {
		if (!mutex_trylock(&my_rng->lock))
			return -EAGAIN;
	} else if (mutex_lock_interruptible(&my_rng->lock)) {
		return -ERESTARTSYS;
	}

	if (!my_rng->regs) {
		mutex_unlock(&my_rng->lock);
		return -ENODEV;
	}

	return 0;
}

/*
 * Whether the device answers.  pci_device_is_present() knows all ones, but QEMU
 * gives an error number where its process is gone.
 */
static bool my_rng_is_present(struct pci_dev *pdev)
{
	u32 id;

	pci_read_config_dword(pdev, PCI_VENDOR_ID, &id);
	return id == (pdev->vendor | (u32)pdev->device << 16);
}

/* Whether the device decodes memory at the address that regs is mapped to */
static bool my_rng_decodes(struct pci_dev *pdev)
{
	u32 base = lower_32_bits(pci_bus_address(pdev, MY_RNG_BAR));
	u16 command;
	u32 bar;

	pci_read_config_word(pdev, PCI_COMMAND, &command);
	pci_read_config_dword(pdev, PCI_BASE_ADDRESS_0, &bar);
	return (command & PCI_COMMAND_MEMORY) &&
	       (bar & (u32)PCI_BASE_ADDRESS_MEM_MASK) == base;
}

/*
 * Restores the configuration if it is lost.  Returns 0 if it was not, 1 if the
 * last access has to be repeated, -ENODEV if there is no device any more.
 */
static int my_rng_restore(struct my_rng *my_rng)
{
	struct pci_dev *pdev = my_rng->pdev;

	if (!my_rng_is_present(pdev))
		return -ENODEV;
	if (my_rng_decodes(pdev))
		return 0;
	if (pci_load_saved_state(pdev, my_rng->saved))
		return -ENODEV;

	pci_restore_state(pdev);
	if (!my_rng_decodes(pdev)) {
		dev_err_ratelimited(&pdev->dev, "cannot restore BAR %d\n",
				    MY_RNG_BAR);
		return -ENODEV;
	}

	pci_notice(pdev, "lost configuration restored, seed again for a known sequence\n");
	return 1;
}

static int my_rng_get_number(struct my_rng *my_rng, u32 *number)
{
	int restored;

	*number = ioread32(my_rng->regs + MY_RNG_REG_RANDOM);
	if (*number && *number != MY_RNG_ALL_ONES)
		return 0;

	/* Now and not at the end: a lost device may be slow to fail */
	restored = my_rng_restore(my_rng);
	if (restored <= 0)
		return restored;

	*number = ioread32(my_rng->regs + MY_RNG_REG_RANDOM);
	return my_rng_decodes(my_rng->pdev) ? 0 : -ENODEV;
}

/* Numbers are stored low byte first, as the device has them */
static int my_rng_get_numbers(struct my_rng *my_rng, __le32 *numbers,
			      unsigned int count, bool nonblock)
{
	unsigned int i;
	u32 number;
	int err;

	err = my_rng_lock(my_rng, nonblock);
	if (err)
		return err;

	for (i = 0; i < count && !err; i++) {
		err = my_rng_get_number(my_rng, &number);
		if (!err)
			numbers[i] = cpu_to_le32(number);
	}

	mutex_unlock(&my_rng->lock);
	return err;
}

static void my_rng_write_seed(struct my_rng *my_rng, u32 seed)
{
	iowrite32(seed, my_rng->regs + MY_RNG_REG_SEED);
	/* Flushes the posted write */
	ioread32(my_rng->regs + MY_RNG_REG_SEED);
}

static int my_rng_seed(struct my_rng *my_rng, u32 seed)
{
	int err = my_rng_lock(my_rng, false);

	if (err)
		return err;

	my_rng_write_seed(my_rng, seed);
	err = my_rng_restore(my_rng);
	if (err > 0) {
		my_rng_write_seed(my_rng, seed);
		err = my_rng_decodes(my_rng->pdev) ? 0 : -ENODEV;
	}

	mutex_unlock(&my_rng->lock);
	return err;
}

/* Character device */

static int my_rng_open(struct inode *inode, struct file *file)
{
	/*
	 * Safe without a lock of our own: the misc core calls this with its
	 * mutex held, which misc_deregister() needs before remove can go on.
	 */
	struct my_rng *my_rng = container_of(file->private_data,
					     struct my_rng, misc);

	kref_get(&my_rng->ref);
	file->private_data = my_rng;
	return stream_open(inode, file);
}

static int my_rng_release(struct inode *inode, struct file *file)
{
	struct my_rng *my_rng = file->private_data;

	kref_put(&my_rng->ref, my_rng_free);
	return 0;
}

static ssize_t my_rng_read(struct file *file, char __user *buf, size_t size,
			   loff_t *ppos)
{
	struct my_rng *my_rng = file->private_data;
	bool nonblock = file->f_flags & O_NONBLOCK;
	__le32 numbers[MY_RNG_CHUNK];
	size_t done = 0;
	int err = 0;

	while (done < size && !err) {
		size_t len = min(size - done, sizeof(numbers));
		size_t missed;

		err = my_rng_get_numbers(my_rng, numbers,
					 DIV_ROUND_UP(len, sizeof(*numbers)),
					 nonblock);
		if (err)
			break;

		missed = copy_to_user(buf + done, numbers, len);
		done += len - missed;
		if (missed)
			err = -EFAULT;
		else if (signal_pending(current))
			err = -ERESTARTSYS;

		cond_resched();
	}

	memzero_explicit(numbers, sizeof(numbers));
	return done ? done : err;
}

static long my_rng_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct my_rng *my_rng = file->private_data;
	u32 __user *user = (u32 __user *)arg;
	__le32 number;
	u32 seed;
	int err;

	switch (cmd) {
	case MY_RNG_IOCTL_RAND:
		err = my_rng_get_numbers(my_rng, &number, 1, false);
		if (err)
			return err;
		return put_user(le32_to_cpu(number), user);

	case MY_RNG_IOCTL_SEED:
		/* A program that knows the seed knows all numbers */
		if (!(file->f_mode & FMODE_WRITE) && !capable(CAP_SYS_ADMIN))
			return -EPERM;
		if (get_user(seed, user))
			return -EFAULT;
		return my_rng_seed(my_rng, seed);

	default:
		return -ENOTTY;
	}
}

static const struct file_operations my_rng_fops = {
	.owner = THIS_MODULE,
	.open = my_rng_open,
	.release = my_rng_release,
	.read = my_rng_read,
	.unlocked_ioctl = my_rng_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* Hardware RNG framework: /dev/hwrng */

static int my_rng_hwrng_read(struct hwrng *hwrng, void *data, size_t max,
			     bool wait)
{
	struct my_rng *my_rng = container_of(hwrng, struct my_rng, hwrng);
	__le32 numbers[MY_RNG_CHUNK];
	size_t len = min(max, sizeof(numbers));
	int err;

	/*
	 * The framework's own thread feeds the kernel's entropy pool, now and
	 * then.  It gets nothing: it would take numbers out of the middle of a
	 * seeded sequence, and those would be no entropy either.
	 */
	if (current->flags & PF_KTHREAD)
		return 0;

	err = my_rng_get_numbers(my_rng, numbers,
				 DIV_ROUND_UP(len, sizeof(*numbers)), !wait);
	if (!err)
		memcpy(data, numbers, len);

	memzero_explicit(numbers, sizeof(numbers));
	return err ? err : len;
}

/* PCI driver */

static void my_rng_put(void *data)
{
	struct my_rng *my_rng = data;

	kref_put(&my_rng->ref, my_rng_free);
}

static void my_rng_put_id(void *data)
{
	struct my_rng *my_rng = data;

	ida_free(&my_rng_ids, my_rng->id);
}

static struct my_rng *my_rng_alloc(struct pci_dev *pdev)
{
	struct my_rng *my_rng = kzalloc(sizeof(*my_rng), GFP_KERNEL);
	int err;

	if (!my_rng)
		return ERR_PTR(-ENOMEM);

	kref_init(&my_rng->ref);
	mutex_init(&my_rng->lock);
	my_rng->pdev = pdev;

	err = devm_add_action_or_reset(&pdev->dev, my_rng_put, my_rng);
	if (err)
		return ERR_PTR(err);

	/* The lowest free one, so the first device has a well-known name */
	my_rng->id = ida_alloc(&my_rng_ids, GFP_KERNEL);
	if (my_rng->id < 0)
		return ERR_PTR(my_rng->id);

	err = devm_add_action_or_reset(&pdev->dev, my_rng_put_id, my_rng);
	if (err)
		return ERR_PTR(err);

	return my_rng;
}

static int my_rng_register_hwrng(struct my_rng *my_rng)
{
	snprintf(my_rng->hwrng_name, sizeof(my_rng->hwrng_name), "my_rng.%d",
		 my_rng->id);

	my_rng->hwrng.name = my_rng->hwrng_name;
	my_rng->hwrng.read = my_rng_hwrng_read;
	/*
	 * Any program may have seeded the generator: its numbers are worth no
	 * entropy.  1/1024 is the least that can be said: 0 would mean "all".
	 */
	my_rng->hwrng.quality = 1;

	return devm_hwrng_register(&my_rng->pdev->dev, &my_rng->hwrng);
}

static int my_rng_register_node(struct my_rng *my_rng)
{
	const char *name = kbasename(MY_RNG_DEVICE_NODE);

	if (my_rng->id == 0)
		strscpy(my_rng->node_name, name, sizeof(my_rng->node_name));
	else
		snprintf(my_rng->node_name, sizeof(my_rng->node_name), "%s%d",
			 name, my_rng->id);

	my_rng->misc.minor = MISC_DYNAMIC_MINOR;
	my_rng->misc.name = my_rng->node_name;
	my_rng->misc.fops = &my_rng_fops;
	my_rng->misc.parent = &my_rng->pdev->dev;
	my_rng->misc.mode = mode;

	return misc_register(&my_rng->misc);
}

static void my_rng_set_regs(struct my_rng *my_rng, void __iomem *regs)
{
	mutex_lock(&my_rng->lock);
	my_rng->regs = regs;
	mutex_unlock(&my_rng->lock);
}

static int my_rng_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct device *dev = &pdev->dev;
	struct my_rng *my_rng;
	int err;

	err = pcim_enable_device(pdev);
	if (err)
		return dev_err_probe(dev, err, "cannot enable the device\n");

	if (pci_resource_len(pdev, MY_RNG_BAR) < MY_RNG_REGS_SIZE)
		return dev_err_probe(dev, -ENODEV, "no registers in BAR %d\n",
				     MY_RNG_BAR);

	/* Claims and maps; newer kernels have a shorter way, 6.1 has this one */
	err = pcim_iomap_regions(pdev, BIT(MY_RNG_BAR), KBUILD_MODNAME);
	if (err)
		return dev_err_probe(dev, err, "cannot map BAR %d\n",
				     MY_RNG_BAR);

	my_rng = my_rng_alloc(pdev);
	if (IS_ERR(my_rng))
		return PTR_ERR(my_rng);

	pci_set_drvdata(pdev, my_rng);

	err = pci_save_state(pdev);
	if (err)
		return dev_err_probe(dev, err, "cannot save configuration\n");
	my_rng->saved = pci_store_saved_state(pdev);
	if (!my_rng->saved)
		return -ENOMEM;

	/*
	 * Before the registers are set: older kernels draw some numbers while
	 * a hardware RNG is registered, and a fresh sequence starts at its
	 * first number.
	 */
	err = my_rng_register_hwrng(my_rng);
	if (err)
		return dev_err_probe(dev, err, "cannot register hwrng\n");

	my_rng_set_regs(my_rng, pcim_iomap_table(pdev)[MY_RNG_BAR]);

	err = my_rng_register_node(my_rng);
	if (err)
		return dev_err_probe(dev, err, "cannot register /dev/%s\n",
				     my_rng->node_name);

	pci_info(pdev, "/dev/%s ready\n", my_rng->node_name);
	return 0;
}

/* The rest goes in reverse order of its making, when this has returned */
static void my_rng_remove(struct pci_dev *pdev)
{
	struct my_rng *my_rng = pci_get_drvdata(pdev);

	misc_deregister(&my_rng->misc);	/* no new opens */
	my_rng_set_regs(my_rng, NULL);	/* who has it open gets -ENODEV */
}

static const struct pci_device_id my_rng_pci_ids[] = {
	{ PCI_DEVICE(MY_RNG_PCI_VENDOR_ID, MY_RNG_PCI_DEVICE_ID) },
	{ }
};
MODULE_DEVICE_TABLE(pci, my_rng_pci_ids);

static struct pci_driver my_rng_driver = {
	.name = KBUILD_MODNAME,
	.id_table = my_rng_pci_ids,
	.probe = my_rng_probe,
	.remove = my_rng_remove,
};
module_pci_driver(my_rng_driver);

MODULE_DESCRIPTION("Teaching PCI random number generator");
MODULE_AUTHOR("The my-rng-server authors");
MODULE_LICENSE("GPL");
