//! MSI-X and other capabilities, as a device asks for them.

use std::ops::Range;

/// Bytes of one entry of an MSI-X table.
pub(crate) const MSIX_ENTRY_SIZE: usize = 16;

/// MSI-X: how many vectors, and where in the BARs their table and pending bits lie. The kit
/// answers accesses to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// Number of vectors, 1 to 2048.
    pub vectors: u16,
    /// BAR that holds table and pending bits.
    pub bar: usize,
    /// Offset of the table (16 bytes a vector), a multiple of 8.
    pub table: u64,
    /// Offset of the pending bit array (one bit a vector, in units of 8 bytes), a multiple of 8.
    pub pba: u64,
}

impl Msix {
    /// Bytes of the table.
    pub fn table_range(&self) -> Range<u64> {
        let size = u64::from(self.vectors) * MSIX_ENTRY_SIZE as u64;
        self.table..self.table.saturating_add(size)
    }

    /// Bytes of the pending bit array.
    pub fn pba_range(&self) -> Range<u64> {
        self.pba..self.pba.saturating_add(u64::from(self.vectors).div_ceil(64) * 8)
    }
}

/// A capability in configuration space whose contents are the device's affair, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Capability {
    /// Capability id, 0x09 for "vendor specific".
    pub id: u8,
    /// What follows id and next pointer.
    pub body: Vec<u8>,
    /// Where in the body a driver reaches the BARs.
    pub window: Option<BarWindow>,
}

/// A window in a capability through which a driver reaches the BARs by way of configuration space:
/// it names a BAR, an offset and a length, and every access to the data bytes is one to there.
///
/// This is virtio's `VIRTIO_PCI_CAP_PCI_CFG` (virtio 1.2, section 4.1.4.9), for firmware that
/// cannot map memory BARs. The values are offsets from the capability's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarWindow {
    /// The byte that holds the BAR's number.
    pub bar: usize,
    /// The four bytes that hold the offset in the BAR.
    pub offset: usize,
    /// The four bytes that hold the access's length; 1, 2 and 4 make one.
    pub length: usize,
    /// The four bytes of data.
    pub data: usize,
}

impl BarWindow {
    /// The fields that a driver may write: where they are and how long.
    pub(crate) fn fields(&self) -> [(usize, usize); 4] {
        [(self.bar, 1), (self.offset, 4), (self.length, 4), (self.data, 4)]
    }
}
