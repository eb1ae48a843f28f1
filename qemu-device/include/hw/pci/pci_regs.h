/* Names of configuration space, from the kernel's own header. */
#ifndef HW_PCI_REGS_H
#define HW_PCI_REGS_H

#include <linux/pci_regs.h>

#endif
