#include "hw/pci/pci_regs.h"
