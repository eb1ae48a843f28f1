#include "hw/pci/pci_device.h"
