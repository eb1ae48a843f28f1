// SPDX-License-Identifier: GPL-2.0-only
/* Rules about notifications, interrupts and the window, in both kinds of ring */

#include <linux/delay.h>
#include <linux/io.h>

#include "rng_hostile.h"

/* [2.1.1] the driver MUST reset a device that it has given up */
static void goes_on_after_failed(struct hostile *h)
{
	hostile_start(h);
	hostile_set_status(h, hostile_status(h) | VIRTIO_CONFIG_S_FAILED);
	hostile_put_request(h);
}

/* [6.1] a driver MUST accept ACCESS_PLATFORM if it is offered */
static void no_access_platform(struct hostile *h)
{
	h->features &= ~BIT_ULL(VIRTIO_F_ACCESS_PLATFORM);
	hostile_start(h);
	hostile_put_request(h);
}

/* [4.1.4.3.2] registers that are not for the driver to write */
static void registers_for_reading_written(struct hostile *h)
{
	hostile_start(h);
	iowrite32(~0, &h->common->device_feature);
	iowrite16(~0, &h->common->num_queues);
	iowrite8(~0, &h->common->config_generation);
	iowrite16(~0, &h->common->queue_notify_off);
	hostile_put_request(h);
}

/* [2.6.1, 4.1.4.3.2] queue_reset, which no RING_RESET has made a register */
static void queue_reset(struct hostile *h)
{
	u8 __iomem *after = (u8 __iomem *)(h->common + 1);

	hostile_start(h);
	iowrite16(0, &h->common->queue_select);
	/* queue_notify_data stands before it */
	iowrite16(~0, after);
	iowrite16(1, after + sizeof(u16));
	hostile_put_request(h);
}

static void notified_a_thousand_times(struct hostile *h)
{
	int round;

	hostile_start(h);
	for (round = 0; round < 1000; round++)
		hostile_notify(h, 0);
	hostile_put_request(h);
}

/* [4.1.5.2] the driver writes 16 bits at the queue's place */
static void notifications_of_other_widths(struct hostile *h)
{
	u8 __iomem *notify = h->notify;

	hostile_start(h);
	iowrite8(0, notify);
	iowrite8(0xff, notify + 1);
	iowrite32(0, notify);
	iowrite32(~0, notify + 4);
	iowrite16(0, notify + 2);
	ioread32(notify);
	hostile_put_request(h);
}

/* [4.1.4.5] the ISR status is one byte, and for reading */
static void isr_written(struct hostile *h)
{
	hostile_start(h);
	hostile_put_request(h);
	iowrite8(0xff, h->isr);
	iowrite32(~0, h->isr);
	ioread32(h->isr);
	/* An Arm processor refuses it itself, as it is not aligned */
	if (IS_ENABLED(CONFIG_X86))
		ioread16(h->isr + 1);
}

/* [4.1.4.5.2] the pin stays asserted until the driver reads the ISR status */
static void interrupts_never_taken(struct hostile *h)
{
	int round;

	for (round = 0; round < 20; round++) {
		hostile_start(h);
		hostile_put_request(h);
		usleep_range(100, 200);
	}
}

/* [4.1.5.1.2] vectors that are masked, change, and go while the queue has one */
static void msix_taken_away(struct hostile *h)
{
	if (pci_alloc_irq_vectors(h->pdev, 1, 2, PCI_IRQ_MSIX) < 1)
		return;
	hostile_start(h);
	iowrite16(0, &h->common->msix_config);
	iowrite16(0, &h->common->queue_select);
	iowrite16(0, &h->common->queue_msix_vector);
	hostile_put_request(h);
	iowrite16(1, &h->common->queue_msix_vector);
	usleep_range(1000, 2000);
	pci_free_irq_vectors(h->pdev);
	hostile_notify(h, 0);
}

static void window(struct hostile *h, u8 bar, u32 offset, u32 length)
{
	struct pci_dev *pdev = h->pdev;
	int data = h->window + sizeof(struct virtio_pci_cap);
	u32 value;

	pci_write_config_byte(pdev, h->window +
			      offsetof(struct virtio_pci_cap, bar), bar);
	pci_write_config_dword(pdev, h->window +
			       offsetof(struct virtio_pci_cap, offset), offset);
	pci_write_config_dword(pdev, h->window +
			       offsetof(struct virtio_pci_cap, length), length);
	pci_read_config_dword(pdev, data, &value);
	pci_write_config_dword(pdev, data, ~0);
}

/* [4.1.4.9.2] an offset MUST be a multiple of the length, and all of it valid */
static void window_to_nowhere(struct hostile *h)
{
	u8 bar;

	hostile_start(h);
	for (bar = 0; bar < 8; bar++) {
		window(h, bar, ~0U, 4);
		window(h, bar, ~3U, 4);
		/* Where a register is, QEMU's own ends QEMU on an Arm machine */
		if (IS_ENABLED(CONFIG_X86))
			window(h, bar, 2, 4);
		window(h, bar, 0x10000, 3);
		window(h, bar, 0x10000, 0);
		window(h, bar, 0x10000, ~0U);
	}
	hostile_put_request(h);
}

const struct hostile_case hostile_interrupt_cases[] = {
	{ "goes on after FAILED", goes_on_after_failed },
	{ "no ACCESS_PLATFORM", no_access_platform },
	{ "registers for reading written", registers_for_reading_written },
	{ "queue reset without RING_RESET", queue_reset },
	{ "notified a thousand times", notified_a_thousand_times },
	{ "notifications of other widths", notifications_of_other_widths },
	{ "ISR status written", isr_written },
	{ "interrupts never taken", interrupts_never_taken },
	{ "MSI-X taken away", msix_taken_away },
	{ "window to nowhere", window_to_nowhere },
	{ }
};
