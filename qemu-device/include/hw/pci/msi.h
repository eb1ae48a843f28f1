/* MSI. */
#ifndef HW_PCI_MSI_H
#define HW_PCI_MSI_H

#include "hw/pci/pci_device.h"

typedef struct MSIMessage {
    uint64_t address;
    uint32_t data;
} MSIMessage;

extern bool msi_nonbroken;

/* The capability has 64-bit addresses and no mask bits, whatever is asked for. */
int msi_init(PCIDevice *device, uint8_t offset, unsigned vectors, bool msi64bit,
             bool per_vector_mask, Error **errp);
void msi_uninit(PCIDevice *device);
void msi_reset(PCIDevice *device);
bool msi_enabled(const PCIDevice *device);
void msi_notify(PCIDevice *device, unsigned vector);
unsigned msi_nr_vectors_allocated(const PCIDevice *device);

static inline bool msi_present(const PCIDevice *device)
{
    return (device->cap_present & QEMU_PCI_CAP_MSI) != 0;
}

#endif
