//! The kinds of interrupts that a client knows.

use vfio_bindings::bindings::vfio as uapi;

use crate::protocol::wire::IrqInfoFlags;

/// The interrupt indexes of a PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum IrqIndex {
    Intx = uapi::VFIO_PCI_INTX_IRQ_INDEX,
    Msi = uapi::VFIO_PCI_MSI_IRQ_INDEX,
    Msix = uapi::VFIO_PCI_MSIX_IRQ_INDEX,
    Error = uapi::VFIO_PCI_ERR_IRQ_INDEX,
    Request = uapi::VFIO_PCI_REQ_IRQ_INDEX,
}

impl IrqIndex {
    pub const ALL: [IrqIndex; 5] =
        [IrqIndex::Intx, IrqIndex::Msi, IrqIndex::Msix, IrqIndex::Error, IrqIndex::Request];

    pub fn from_wire(index: u32) -> Option<IrqIndex> {
        Self::ALL.into_iter().find(|known| *known as u32 == index)
    }

    /// What a client may do with it. The pin's flags are those of the kernel's vfio-pci.
    pub fn flags(self) -> IrqInfoFlags {
        match self {
            IrqIndex::Intx => {
                IrqInfoFlags::EVENTFD | IrqInfoFlags::MASKABLE | IrqInfoFlags::AUTOMASKED
            }
            IrqIndex::Msi | IrqIndex::Msix => IrqInfoFlags::EVENTFD | IrqInfoFlags::MASKABLE,
            IrqIndex::Error | IrqIndex::Request => IrqInfoFlags::EVENTFD,
        }
    }
}
