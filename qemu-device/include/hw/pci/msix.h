/* MSI-X. */
#ifndef HW_PCI_MSIX_H
#define HW_PCI_MSIX_H

#include "hw/pci/pci_device.h"

/* Table and pending bits lie in one BAR, and the guest reaches them without the device. */
int msix_init(PCIDevice *device, unsigned short entries, MemoryRegion *table_bar,
              uint8_t table_bar_number, unsigned table_offset, MemoryRegion *pba_bar,
              uint8_t pba_bar_number, unsigned pba_offset, uint8_t cap_position, Error **errp);
int msix_init_exclusive_bar(PCIDevice *device, unsigned short entries, uint8_t bar_number,
                            Error **errp);
void msix_uninit(PCIDevice *device, MemoryRegion *table_bar, MemoryRegion *pba_bar);
void msix_uninit_exclusive_bar(PCIDevice *device);
void msix_reset(PCIDevice *device);
int msix_enabled(PCIDevice *device);
void msix_notify(PCIDevice *device, unsigned vector);
/* `int` until QEMU 8.0, nothing since: vectors need no allocation, it always works. */
int msix_vector_use(PCIDevice *device, unsigned vector);
void msix_vector_unuse(PCIDevice *device, unsigned vector);
void msix_unuse_all_vectors(PCIDevice *device);

static inline int msix_present(PCIDevice *device)
{
    return (device->cap_present & QEMU_PCI_CAP_MSIX) != 0;
}

static inline unsigned msix_nr_vectors_allocated(const PCIDevice *device)
{
    return device->msix_entries_nr;
}

#endif
