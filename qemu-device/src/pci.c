/* PCI devices: identity, BARs, capabilities, and what the guest finds of them. */
#include "internal.h"
#include "qemu/cutils.h"

static PCIBus the_bus;

static void realize(DeviceState *qdev, Error **errp)
{
    PCIDevice *device = PCI_DEVICE(qdev);
    PCIDeviceClass *class = PCI_DEVICE_GET_CLASS(device);
    device->config = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    device->cmask = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    device->wmask = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    device->w1cmask = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    device->used = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    device->bus = &the_bus;
    pstrcpy(device->name, sizeof(device->name), object_get_typename(OBJECT(device)));
    uint8_t *config = device->config;
    pci_config_set_vendor_id(config, class->vendor_id);
    pci_config_set_device_id(config, class->device_id);
    pci_config_set_revision(config, class->revision);
    pci_config_set_class(config, class->class_id);
    bool named = class->subsystem_vendor_id || class->subsystem_id;
    pci_set_word(&config[PCI_SUBSYSTEM_VENDOR_ID],
                 named ? class->subsystem_vendor_id : PCI_SUBVENDOR_ID_REDHAT_QUMRANET);
    pci_set_word(&config[PCI_SUBSYSTEM_ID],
                 named ? class->subsystem_id : PCI_SUBDEVICE_ID_QEMU);
    device->config_read = class->config_read ? class->config_read : pci_default_read_config;
    device->config_write = class->config_write ? class->config_write : pci_default_write_config;
    if (class->realize) {
        class->realize(device, errp);
    } else if (class->init && class->init(device) != 0) {
        error_setg(errp, "its init function has failed");
    }
}

static void unrealize(DeviceState *qdev)
{
    PCIDevice *device = PCI_DEVICE(qdev);
    PCIDeviceClass *class = PCI_DEVICE_GET_CLASS(device);
    if (class->exit) {
        class->exit(device);
    }
}

void pci_register_bar(PCIDevice *device, int number, uint8_t type, MemoryRegion *memory)
{
    if (number < 0 || number >= PCI_NUM_REGIONS - 1) {
        fatal("pci_register_bar(): invalid BAR: %d; expected 0 to 5", number);
    }
    uint64_t size = memory->size;
    if (size == 0 || (size & (size - 1)) != 0) {
        fatal("BAR %d: invalid size of region \"%s\": %" PRIu64 " bytes; expected a power of two",
              number, memory->name, size);
    }
    if (device->io_regions[number].memory) {
        fatal("BAR %d is in use; register each BAR once", number);
    }
    device->io_regions[number] = (PCIIORegion){
        .addr = PCI_BAR_UNMAPPED, .size = size, .type = type, .memory = memory,
    };
}

/* Bytes of the header that no capability may have. */
static bool is_free(const PCIDevice *device, unsigned start, unsigned size)
{
    for (unsigned i = start; i < start + size; i++) {
        if (i < PCI_CONFIG_HEADER_SIZE || i >= PCI_CONFIG_SPACE_SIZE || device->used[i]) {
            return false;
        }
    }
    return true;
}

int pci_add_capability(PCIDevice *device, uint8_t id, uint8_t offset, uint8_t size, Error **errp)
{
    unsigned start = offset ? offset : PCI_CONFIG_HEADER_SIZE;
    while (!offset && start < PCI_CONFIG_SPACE_SIZE && !is_free(device, start, size)) {
        start += 4;
    }
    if (size < 2 || !is_free(device, start, size)) {
        error_setg(errp, "no room for a capability of %d bytes at %#x of configuration space", size,
                   offset);
        return -EINVAL;
    }
    memset(&device->used[start], 0xff, size);
    device->config[start] = id;
    device->config[start + 1] = device->config[PCI_CAPABILITY_LIST];
    device->config[PCI_CAPABILITY_LIST] = start;
    device->capability_size[start] = size;
    return start;
}

uint8_t pci_find_capability(PCIDevice *device, uint8_t id)
{
    uint8_t at = device->config[PCI_CAPABILITY_LIST];
    while (at && device->config[at] != id) {
        at = device->config[at + 1];
    }
    return at;
}

int pcie_endpoint_cap_init(PCIDevice *device, uint8_t offset)
{
    warn_report("the PCI Express capability is left out: this device is a conventional one");
    return offset;
}

PCIBus *pci_get_bus(const PCIDevice *device)
{
    return device->bus;
}

BusState *qdev_get_parent_bus(const DeviceState *device)
{
    return &the_bus.qbus;
}

static void describe_bar(const PCIIORegion *region, struct vfio_user_bar *bar)
{
    bar->size = region->size;
    if (region->type & PCI_BASE_ADDRESS_SPACE_IO) {
        bar->kind = VFIO_USER_BAR_IO;
    } else if (region->type & PCI_BASE_ADDRESS_MEM_TYPE_64) {
        bar->kind = VFIO_USER_BAR_MEMORY64;
    } else {
        bar->kind = VFIO_USER_BAR_MEMORY32;
    }
    bar->prefetchable = (region->type & PCI_BASE_ADDRESS_MEM_PREFETCH) != 0;
    bar->max_access_width = 8;
}

static size_t describe_capabilities(PCIDevice *device, struct vfio_user_capability *capabilities)
{
    size_t count = 0;
    uint8_t at = device->config[PCI_CAPABILITY_LIST];
    for (; at && count < MAX_CAPABILITIES; at = device->config[at + 1]) {
        uint8_t id = device->config[at];
        if (id != PCI_CAP_ID_MSI && id != PCI_CAP_ID_MSIX) {
            capabilities[count++] = (struct vfio_user_capability){
                .id = id,
                .length = device->capability_size[at] - 2,
                .body = &device->config[at + 2],
            };
        }
    }
    return count;
}

void describe_device(PCIDevice *device, struct vfio_user_config *config,
                     struct vfio_user_capability *capabilities)
{
    const uint8_t *space = device->config;
    *config = (struct vfio_user_config){
        .struct_size = sizeof(*config),
        .vendor_id = pci_get_word(&space[PCI_VENDOR_ID]),
        .device_id = pci_get_word(&space[PCI_DEVICE_ID]),
        .subsystem_vendor_id = pci_get_word(&space[PCI_SUBSYSTEM_VENDOR_ID]),
        .subsystem_id = pci_get_word(&space[PCI_SUBSYSTEM_ID]),
        .class_code = pci_get_long(&space[PCI_CLASS_REVISION]) >> 8,
        .revision = space[PCI_REVISION_ID],
        .intx = space[PCI_INTERRUPT_PIN] != 0,
        .msi_vectors = device->msi_vectors,
        .msix = { .vectors = device->msix_entries_nr,
                  .bar = device->msix_bar,
                  .table_offset = device->msix_table_offset,
                  .pba_offset = device->msix_pba_offset },
        .capabilities = capabilities,
        .capability_count = describe_capabilities(device, capabilities),
    };
    for (int i = 0; i < VFIO_USER_BARS; i++) {
        if (device->io_regions[i].memory) {
            describe_bar(&device->io_regions[i], &config->bars[i]);
        }
    }
}

static void class_init(ObjectClass *class, const void *data)
{
    DEVICE_CLASS(class)->realize = realize;
    DEVICE_CLASS(class)->unrealize = unrealize;
}

const VMStateDescription vmstate_pci_device = { .name = "PCIDevice" };

static const TypeInfo types[] = {
    { .name = INTERFACE_CONVENTIONAL_PCI_DEVICE, .parent = TYPE_INTERFACE, .abstract = true },
    { .name = INTERFACE_PCIE_DEVICE, .parent = TYPE_INTERFACE, .abstract = true },
    {
        .name = TYPE_PCI_DEVICE,
        .parent = TYPE_DEVICE,
        .instance_size = sizeof(PCIDevice),
        .class_size = sizeof(PCIDeviceClass),
        .class_init = class_init,
        .abstract = true,
    },
};

DEFINE_TYPES(types)
