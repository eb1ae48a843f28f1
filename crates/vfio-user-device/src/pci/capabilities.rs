//! The capabilities that the kit itself has: MSI and MSI-X, as bytes of configuration space.

use crate::pci::config::Msix;

/// The MSI capability with a 64-bit address and without masks for single vectors, section 6.8.1.
pub(super) mod msi {
    pub const ID: u8 = 0x05;
    /// Offset of message control from the capability's start.
    pub const CONTROL: usize = 2;
    pub const ENABLE: u16 = 1 << 0;
    /// How many vectors there are, as a power of two.
    pub const CAPABLE_SHIFT: u32 = 1;
    /// How many of them the driver allows, as a power of two.
    pub const ALLOWED: u16 = 7 << ALLOWED_SHIFT;
    pub const ALLOWED_SHIFT: u32 = 4;
    pub const ADDRESS_64: u16 = 1 << 7;
    /// Offset of the message's address, whose low two bits are zero, and of its 16 bits of data.
    pub const ADDRESS: usize = 4;
    pub const ADDRESS_BITS: u64 = !3;
    pub const DATA: usize = 12;
    /// Bytes behind id and next pointer.
    pub const BODY_SIZE: usize = 12;
}

/// The MSI-X capability, section 6.8.2.
pub(super) mod msix {
    pub const ID: u8 = 0x11;
    /// Offset of message control from the capability's start.
    pub const CONTROL: usize = 2;
    pub const FUNCTION_MASK: u16 = 1 << 14;
    pub const ENABLE: u16 = 1 << 15;
}

/// The MSI-X capability behind id and next pointer: message control, table, pending bits.
pub(super) fn msix_body(msix: &Msix) -> Vec<u8> {
    let control = msix.vectors - 1;
    // The low three bits of an offset, which are zero, hold the number of the BAR.
    let place = |offset: u64| u32::try_from(offset | msix.bar as u64).unwrap_or(0).to_le_bytes();
    [&control.to_le_bytes()[..], &place(msix.table), &place(msix.pba)].concat()
}

/// The MSI capability behind id and next pointer: message control, and zeros for the message.
pub(super) fn msi_body(vectors: u16) -> Vec<u8> {
    let capable = u16::try_from(vectors.ilog2()).unwrap_or(0) << msi::CAPABLE_SHIFT;
    let mut body = (msi::ADDRESS_64 | capable).to_le_bytes().to_vec();
    body.resize(msi::BODY_SIZE, 0);
    body
}
