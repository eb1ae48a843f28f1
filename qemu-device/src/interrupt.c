/* Interrupts, from any thread that holds the big lock. */
#include "hw/irq.h"
#include "internal.h"

bool msi_nonbroken = true;

/* The level of INTx that the server is to have, and whether it has to be told. */
static int intx_level;
static bool intx_is_due;

static void tell_intx(struct vfio_user_bus *bus, void *argument)
{
    intx_is_due = bus == NULL;
    if (bus) {
        vfio_user_set_intx(bus, intx_level);
    }
}

void restore_intx(struct vfio_user_bus *bus)
{
    if (intx_is_due) {
        tell_intx(bus, NULL);
    }
}

void remember_intx(PCIDevice *device, bool level)
{
    device->irq_state = level;
    intx_level = level;
}

void pci_set_irq(PCIDevice *device, int level)
{
    remember_intx(device, level != 0);
    with_bus(tell_intx, NULL);
}

static void signal_vector(struct vfio_user_bus *bus, void *argument)
{
    if (bus) {
        vfio_user_signal_vector(bus, *(unsigned *)argument);
    }
}

static void ask_msi(struct vfio_user_bus *bus, void *argument)
{
    *(bool *)argument = bus && vfio_user_msi_enabled(bus);
}

static void ask_msix(struct vfio_user_bus *bus, void *argument)
{
    *(bool *)argument = bus && vfio_user_msix_enabled(bus);
}

int msi_init(PCIDevice *device, uint8_t offset, unsigned vectors, bool msi64bit,
             bool per_vector_mask, Error **errp)
{
    if (vectors == 0 || vectors > 32 || (vectors & (vectors - 1)) != 0) {
        error_setg(errp, "invalid number of MSI vectors: %u; expected 1, 2, 4, 8, 16 or 32",
                   vectors);
        return -EINVAL;
    }
    int at = pci_add_capability(device, PCI_CAP_ID_MSI, offset, PCI_MSI_DATA_64 + 2, errp);
    if (at < 0) {
        return at;
    }
    device->msi_cap = at;
    device->msi_vectors = vectors;
    device->cap_present |= QEMU_PCI_CAP_MSI;
    return 0;
}

void msi_uninit(PCIDevice *device)
{
    device->cap_present &= ~QEMU_PCI_CAP_MSI;
}

/* The server resets what the driver has set. */
void msi_reset(PCIDevice *device)
{
}

bool msi_enabled(const PCIDevice *device)
{
    bool enabled = false;
    if (msi_present(device)) {
        with_bus(ask_msi, &enabled);
    }
    return enabled;
}

void msi_notify(PCIDevice *device, unsigned vector)
{
    if (msi_present(device)) {
        with_bus(signal_vector, &vector);
    }
}

unsigned msi_nr_vectors_allocated(const PCIDevice *device)
{
    return device->msi_vectors;
}

int msix_init(PCIDevice *device, unsigned short entries, MemoryRegion *table_bar,
              uint8_t table_bar_number, unsigned table_offset, MemoryRegion *pba_bar,
              uint8_t pba_bar_number, unsigned pba_offset, uint8_t cap_position, Error **errp)
{
    if (entries == 0 || entries > 2048) {
        error_setg(errp, "invalid number of MSI-X vectors: %d; expected 1 to 2048", entries);
        return -EINVAL;
    }
    if (table_bar_number != pba_bar_number) {
        error_setg(errp, "MSI-X: the table in BAR %d and the pending bits in BAR %d; put both into "
                         "one BAR",
                   table_bar_number, pba_bar_number);
        return -EINVAL;
    }
    int at = pci_add_capability(device, PCI_CAP_ID_MSIX, cap_position, 12, errp);
    if (at < 0) {
        return at;
    }
    device->msix_cap = at;
    device->msix_entries_nr = entries;
    device->msix_bar = table_bar_number;
    device->msix_table_offset = table_offset;
    device->msix_pba_offset = pba_offset;
    device->cap_present |= QEMU_PCI_CAP_MSIX;
    return 0;
}

int msix_init_exclusive_bar(PCIDevice *device, unsigned short entries, uint8_t bar_number,
                            Error **errp)
{
    /* The table in the first half, the pending bits in the second. */
    uint64_t size = MAX(pow2ceil((uint64_t)entries * 16) * 2, 4096);
    g_autofree char *name = g_strdup_printf("%s-msix", device->name);
    memory_region_init(&device->msix_exclusive_bar, OBJECT(device), name, size);
    int result = msix_init(device, entries, &device->msix_exclusive_bar, bar_number, 0,
                           &device->msix_exclusive_bar, bar_number, size / 2, 0, errp);
    if (result == 0) {
        pci_register_bar(device, bar_number, PCI_BASE_ADDRESS_SPACE_MEMORY,
                         &device->msix_exclusive_bar);
    }
    return result;
}

void msix_uninit(PCIDevice *device, MemoryRegion *table_bar, MemoryRegion *pba_bar)
{
    device->cap_present &= ~QEMU_PCI_CAP_MSIX;
}

void msix_uninit_exclusive_bar(PCIDevice *device)
{
    device->cap_present &= ~QEMU_PCI_CAP_MSIX;
}

void msix_reset(PCIDevice *device)
{
}

int msix_enabled(PCIDevice *device)
{
    bool enabled = false;
    if (msix_present(device)) {
        with_bus(ask_msix, &enabled);
    }
    return enabled;
}

void msix_notify(PCIDevice *device, unsigned vector)
{
    if (msix_present(device) && vector < (unsigned)device->msix_entries_nr) {
        with_bus(signal_vector, &vector);
    }
}

int msix_vector_use(PCIDevice *device, unsigned vector)
{
    return vector < (unsigned)device->msix_entries_nr ? 0 : -EINVAL;
}

void msix_vector_unuse(PCIDevice *device, unsigned vector)
{
}

void msix_unuse_all_vectors(PCIDevice *device)
{
}

/* Lines as values. */
struct IRQState {
    qemu_irq_handler handler;
    void *opaque;
    int number;
};

qemu_irq qemu_allocate_irq(qemu_irq_handler handler, void *opaque, int number)
{
    qemu_irq irq = g_new0(struct IRQState, 1);
    *irq = (struct IRQState){ handler, opaque, number };
    return irq;
}

void qemu_free_irq(qemu_irq irq)
{
    g_free(irq);
}

void qemu_set_irq(qemu_irq irq, int level)
{
    if (irq) {
        irq->handler(irq->opaque, irq->number, level);
    }
}

static void handle_pci_irq(void *opaque, int number, int level)
{
    pci_set_irq(opaque, level);
}

qemu_irq pci_allocate_irq(PCIDevice *device)
{
    return qemu_allocate_irq(handle_pci_irq, device, 0);
}
