/* PCI devices. */
#ifndef HW_PCI_DEVICE_H
#define HW_PCI_DEVICE_H

#include "exec/hwaddr.h"
#include "hw/irq.h"
#include "hw/pci/pci_ids.h"
#include "hw/pci/pci_regs.h"
#include "hw/qdev-core.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "qemu/log.h"
#include "system/dma.h"
#include "system/memory.h"

#define TYPE_PCI_DEVICE "pci-device"
DECLARE_OBJ_CHECKERS(PCIDevice, PCIDeviceClass, PCI_DEVICE, TYPE_PCI_DEVICE)

#define INTERFACE_CONVENTIONAL_PCI_DEVICE "conventional-pci-device"
#define INTERFACE_PCIE_DEVICE "pci-express-device"
#define INTERFACE_CXL_DEVICE "cxl-device"

#define PCI_NUM_REGIONS 7
#define PCI_ROM_SLOT 6
#define PCI_CONFIG_SPACE_SIZE 0x100
#define PCIE_CONFIG_SPACE_SIZE 0x1000
#define PCI_CONFIG_HEADER_SIZE 0x40
#define PCI_BAR_UNMAPPED (~(pcibus_t)0)

#define PCI_DEVFN(slot, function) ((((slot) & 0x1f) << 3) | ((function) & 7))
#define PCI_SLOT(devfn) (((devfn) >> 3) & 0x1f)
#define PCI_FUNC(devfn) ((devfn) & 7)

/* Bits of `cap_present`. */
#define QEMU_PCI_CAP_MSI 0x1
#define QEMU_PCI_CAP_MSIX 0x2
#define QEMU_PCI_CAP_EXPRESS 0x4

typedef void PCIUnregisterFunc(PCIDevice *device);
typedef void PCIConfigWriteFunc(PCIDevice *device, uint32_t address, uint32_t data, int length);
typedef uint32_t PCIConfigReadFunc(PCIDevice *device, uint32_t address, int length);

struct PCIDeviceClass {
    DeviceClass parent_class;
    void (*realize)(PCIDevice *device, Error **errp);
    int (*init)(PCIDevice *device);
    PCIUnregisterFunc *exit;
    PCIConfigReadFunc *config_read;
    PCIConfigWriteFunc *config_write;
    uint16_t vendor_id;
    uint16_t device_id;
    uint8_t revision;
    uint16_t class_id;
    uint16_t subsystem_vendor_id;
    uint16_t subsystem_id;
    const char *romfile;
};

typedef struct PCIIORegion {
    pcibus_t addr;
    pcibus_t size;
    uint8_t type;
    MemoryRegion *memory;
    MemoryRegion *address_space;
} PCIIORegion;

struct PCIBus {
    BusState qbus;
};

struct PCIDevice {
    DeviceState qdev;
    /* Configuration space as realize() leaves it is what the guest finds. Later the header has what
     * the driver has written to it. */
    uint8_t *config;
    uint8_t *cmask;
    uint8_t *wmask;
    uint8_t *w1cmask;
    uint8_t *used;
    int32_t devfn;
    char name[64];
    PCIIORegion io_regions[PCI_NUM_REGIONS];
    PCIConfigReadFunc *config_read;
    PCIConfigWriteFunc *config_write;
    uint8_t irq_state;
    uint32_t cap_present;
    uint8_t msi_cap;
    int msi_vectors;
    uint8_t msix_cap;
    int msix_entries_nr;
    int msix_bar;
    uint32_t msix_table_offset;
    uint32_t msix_pba_offset;
    MemoryRegion msix_exclusive_bar;
    struct {
        uint8_t exp_cap;
    } exp;
    uint8_t capability_size[PCI_CONFIG_SPACE_SIZE];
    PCIBus *bus;
};

void pci_register_bar(PCIDevice *device, int number, uint8_t type, MemoryRegion *memory);
pcibus_t pci_get_bar_addr(PCIDevice *device, int number)
    QEMU_DEVICE_NOT_OFFERED("a device in a process of its own does not learn its BARs' addresses");
int pci_add_capability(PCIDevice *device, uint8_t id, uint8_t offset, uint8_t size,
                       Error **errp);
uint8_t pci_find_capability(PCIDevice *device, uint8_t id);
uint32_t pci_default_read_config(PCIDevice *device, uint32_t address, int length);
void pci_default_write_config(PCIDevice *device, uint32_t address, uint32_t data, int length);

void pci_set_irq(PCIDevice *device, int level);
qemu_irq pci_allocate_irq(PCIDevice *device);

static inline void pci_irq_assert(PCIDevice *device)
{
    pci_set_irq(device, 1);
}

static inline void pci_irq_deassert(PCIDevice *device)
{
    pci_set_irq(device, 0);
}

static inline void pci_irq_pulse(PCIDevice *device)
{
    pci_set_irq(device, 1);
    pci_set_irq(device, 0);
}

PCIBus *pci_get_bus(const PCIDevice *device);
#define pci_bus_is_express(bus) false
#define pci_is_express(device) (((device)->cap_present & QEMU_PCI_CAP_EXPRESS) != 0)
#define pci_dev_bus_num(device) 0
#define pci_bus_num(bus) 0
#define pci_config_size(device) PCI_CONFIG_SPACE_SIZE
/* Answers without an effect: here every device is a conventional one. */
int pcie_endpoint_cap_init(PCIDevice *device, uint8_t offset);
#define pcie_cap_exit(device) ((void)(device))

static inline void pci_set_byte(uint8_t *config, uint8_t value)
{
    *config = value;
}

static inline uint8_t pci_get_byte(const uint8_t *config)
{
    return *config;
}

static inline void pci_set_word(uint8_t *config, uint16_t value)
{
    stw_le_p(config, value);
}

static inline uint16_t pci_get_word(const uint8_t *config)
{
    return lduw_le_p(config);
}

static inline void pci_set_long(uint8_t *config, uint32_t value)
{
    stl_le_p(config, value);
}

static inline uint32_t pci_get_long(const uint8_t *config)
{
    return ldl_le_p(config);
}

static inline void pci_set_quad(uint8_t *config, uint64_t value)
{
    stq_le_p(config, value);
}

static inline uint64_t pci_get_quad(const uint8_t *config)
{
    return ldq_le_p(config);
}

static inline void pci_config_set_vendor_id(uint8_t *config, uint16_t value)
{
    pci_set_word(&config[PCI_VENDOR_ID], value);
}

static inline void pci_config_set_device_id(uint8_t *config, uint16_t value)
{
    pci_set_word(&config[PCI_DEVICE_ID], value);
}

static inline void pci_config_set_revision(uint8_t *config, uint8_t value)
{
    config[PCI_REVISION_ID] = value;
}

static inline void pci_config_set_class(uint8_t *config, uint16_t value)
{
    pci_set_word(&config[PCI_CLASS_DEVICE], value);
}

static inline void pci_config_set_prog_interface(uint8_t *config, uint8_t value)
{
    config[PCI_CLASS_PROG] = value;
}

static inline void pci_config_set_interrupt_pin(uint8_t *config, uint8_t value)
{
    config[PCI_INTERRUPT_PIN] = value;
}

AddressSpace *pci_get_address_space(PCIDevice *device);

static inline MemTxResult pci_dma_rw(PCIDevice *device, dma_addr_t address, void *buffer,
                                     dma_addr_t length, DMADirection direction,
                                     MemTxAttrs attrs)
{
    return dma_memory_rw(pci_get_address_space(device), address, buffer, length, direction, attrs);
}

static inline MemTxResult pci_dma_read(PCIDevice *device, dma_addr_t address, void *buffer,
                                       dma_addr_t length)
{
    return pci_dma_rw(device, address, buffer, length, DMA_DIRECTION_TO_DEVICE,
                      MEMTXATTRS_UNSPECIFIED);
}

static inline MemTxResult pci_dma_write(PCIDevice *device, dma_addr_t address,
                                        const void *buffer, dma_addr_t length)
{
    return pci_dma_rw(device, address, (void *)buffer, length, DMA_DIRECTION_FROM_DEVICE,
                      MEMTXATTRS_UNSPECIFIED);
}

#define QEMU_DEVICE_PCI_DMA_VALUE(load, store, type) \
    static inline MemTxResult load##_pci_dma(PCIDevice *device, dma_addr_t address, \
                                             type *value, MemTxAttrs attrs) \
    { \
        return load##_dma(pci_get_address_space(device), address, value, attrs); \
    } \
    static inline MemTxResult store##_pci_dma(PCIDevice *device, dma_addr_t address, \
                                              type value, MemTxAttrs attrs) \
    { \
        return store##_dma(pci_get_address_space(device), address, value, attrs); \
    }
QEMU_DEVICE_PCI_DMA_VALUE(ldub, stb, uint8_t)
QEMU_DEVICE_PCI_DMA_VALUE(lduw_le, stw_le, uint16_t)
QEMU_DEVICE_PCI_DMA_VALUE(ldl_le, stl_le, uint32_t)
QEMU_DEVICE_PCI_DMA_VALUE(ldq_le, stq_le, uint64_t)
QEMU_DEVICE_PCI_DMA_VALUE(lduw_be, stw_be, uint16_t)
QEMU_DEVICE_PCI_DMA_VALUE(ldl_be, stl_be, uint32_t)
QEMU_DEVICE_PCI_DMA_VALUE(ldq_be, stq_be, uint64_t)

void *pci_dma_map(PCIDevice *device, dma_addr_t address, dma_addr_t *length,
                  DMADirection direction)
    QEMU_DEVICE_NOT_OFFERED("guest memory cannot be mapped by a device in a process of its own; "
                            "copy it with pci_dma_read() and pci_dma_write()");

#endif
