//! The 256 bytes of configuration space of a PCI device with a type 0 header.
//!
//! The space is an array of bytes with a second array that says which bits a driver may write, so
//! that BAR sizing needs no code: the low bits of a BAR are simply not writable.

use std::ops::Range;

use crate::description::{Bar, BarKind, BarWindow, Description, Msix};

/// Size of configuration space in bytes.
pub(crate) const SIZE: usize = 256;
/// The same, as a region's size.
pub(crate) const CONFIG_SIZE: u64 = SIZE as u64;

// Offsets of the type 0 header, PCI Local Bus Specification 3.0, section 6.1.
const VENDOR_ID: usize = 0x00;
const DEVICE_ID: usize = 0x02;
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const REVISION: usize = 0x08;
const CLASS: usize = 0x09;
const CACHE_LINE_SIZE: usize = 0x0c;
const BARS: usize = 0x10;
const SUBSYSTEM_VENDOR_ID: usize = 0x2c;
const SUBSYSTEM_ID: usize = 0x2e;
const CAPABILITIES_POINTER: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;
const FIRST_CAPABILITY: usize = 0x40;

/// Bits of the command register, section 6.2.2.
mod command {
    pub const IO_SPACE: u16 = 1 << 0;
    pub const MEMORY_SPACE: u16 = 1 << 1;
    pub const BUS_MASTER: u16 = 1 << 2;
    pub const PARITY_ERROR_RESPONSE: u16 = 1 << 6;
    pub const SERR_ENABLE: u16 = 1 << 8;
    pub const INTERRUPT_DISABLE: u16 = 1 << 10;
    pub const WRITABLE: u16 = IO_SPACE
        | MEMORY_SPACE
        | BUS_MASTER
        | PARITY_ERROR_RESPONSE
        | SERR_ENABLE
        | INTERRUPT_DISABLE;
}

/// Bits of the status register, section 6.2.3.
mod status {
    pub const INTERRUPT: u16 = 1 << 3;
    pub const CAPABILITIES: u16 = 1 << 4;
}

/// Low bits of a BAR, section 6.2.5.1.
mod bar {
    pub const IO: u32 = 1 << 0;
    pub const MEMORY_64: u32 = 1 << 2;
    pub const PREFETCHABLE: u32 = 1 << 3;
}

/// The MSI capability with a 64-bit address and without masks for single vectors, section 6.8.1.
mod msi {
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
mod msix {
    pub const ID: u8 = 0x11;
    /// Offset of message control from the capability's start.
    pub const CONTROL: usize = 2;
    pub const FUNCTION_MASK: u16 = 1 << 14;
    pub const ENABLE: u16 = 1 << 15;
}

/// Configuration space with the values that a driver has written to it.
#[derive(Clone, Debug)]
pub(crate) struct ConfigSpace {
    bytes: [u8; SIZE],
    /// Bits that a driver may write.
    writable: [u8; SIZE],
    /// What `bytes` is after a reset.
    at_reset: [u8; SIZE],
    /// Where the MSI-X capability starts.
    msix: Option<usize>,
    /// Where the MSI capability starts, and its number of vectors.
    msi: Option<(usize, u16)>,
    /// The window to the BARs, its fields as offsets in the space.
    window: Option<BarWindow>,
}

/// What a driver has pointed the window to the BARs at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowTarget {
    /// The BAR.
    pub bar: u32,
    /// Offset in the BAR, a multiple of the length.
    pub offset: u64,
    /// 1, 2 or 4 bytes.
    pub length: usize,
    /// The data bytes that an access of that length uses, as a range of the space.
    pub data: (usize, usize),
}

impl ConfigSpace {
    /// The space of a device at power-on. The description has been checked.
    pub fn new(description: &Description) -> Self {
        let mut space = ConfigSpace {
            bytes: [0; SIZE],
            writable: [0; SIZE],
            at_reset: [0; SIZE],
            msix: None,
            msi: None,
            window: None,
        };
        let identity = &description.identity;
        space.set(VENDOR_ID, &identity.vendor.to_le_bytes());
        space.set(DEVICE_ID, &identity.device.to_le_bytes());
        space.set(REVISION, &[identity.revision]);
        let class = identity.class;
        space.set(CLASS, &[class.interface, class.sub, class.base]);
        space.set(SUBSYSTEM_VENDOR_ID, &identity.subsystem_vendor.to_le_bytes());
        space.set(SUBSYSTEM_ID, &identity.subsystem.to_le_bytes());
        space.allow(COMMAND, &command::WRITABLE.to_le_bytes());
        space.allow(CACHE_LINE_SIZE, &[0xff]);
        space.allow(INTERRUPT_LINE, &[0xff]);
        if description.interrupt_pin {
            space.set(INTERRUPT_PIN, &[1]);
        }
        for (index, bar) in description.bars.iter().enumerate() {
            if let Some(bar) = bar {
                space.add_bar(BARS + 4 * index, bar);
            }
        }
        space.add_capabilities(description);
        space.at_reset = space.bytes;
        space
    }

    fn add_bar(&mut self, register: usize, bar: &Bar) {
        let mut flags = match bar.kind {
            BarKind::Io => bar::IO,
            BarKind::Memory32 => 0,
            BarKind::Memory64 => bar::MEMORY_64,
        };
        if bar.prefetchable {
            flags |= bar::PREFETCHABLE;
        }
        self.set(register, &flags.to_le_bytes());
        let address_bits = (!(bar.size - 1)).to_le_bytes();
        let length = if bar.kind == BarKind::Memory64 { 8 } else { 4 };
        self.allow(register, address_bits.get(..length).unwrap_or_default());
    }

    fn add_capabilities(&mut self, description: &Description) {
        let mut link = CAPABILITIES_POINTER;
        let mut start = FIRST_CAPABILITY;
        let msix = description.msix.map(|msix| (msix::ID, msix_body(&msix), None));
        let msi = description.msi.map(|vectors| (msi::ID, msi_body(vectors), None));
        let others = description
            .capabilities
            .iter()
            .map(|capability| (capability.id, capability.body.clone(), capability.window));
        for (id, body, window) in msix.into_iter().chain(msi).chain(others) {
            match id {
                msix::ID => self.allow_msix(start),
                msi::ID => self.allow_msi(start, description.msi.unwrap_or(1)),
                _ => {}
            }
            if let Some(window) = window {
                for (offset, length) in window.fields() {
                    self.allow(start + offset, [0xff; 4].get(..length).unwrap_or_default());
                }
                self.window = Some(BarWindow {
                    bar: start + window.bar,
                    offset: start + window.offset,
                    length: start + window.length,
                    data: start + window.data,
                });
            }
            // A start fits into a byte: check() has made sure that all capabilities do.
            self.set(link, &[u8::try_from(start).unwrap_or(0)]);
            self.set(STATUS, &status::CAPABILITIES.to_le_bytes());
            self.set(start, &[id, 0]);
            self.set(start + 2, &body);
            link = start + 1;
            start += (2 + body.len()).div_ceil(4) * 4;
        }
    }

    fn allow_msix(&mut self, start: usize) {
        self.msix = Some(start);
        let control = msix::FUNCTION_MASK | msix::ENABLE;
        self.allow(start + msix::CONTROL, &control.to_le_bytes());
    }

    fn allow_msi(&mut self, start: usize, vectors: u16) {
        self.msi = Some((start, vectors));
        let control = msi::ENABLE | msi::ALLOWED;
        self.allow(start + msi::CONTROL, &control.to_le_bytes());
        self.allow(start + msi::ADDRESS, &msi::ADDRESS_BITS.to_le_bytes());
        self.allow(start + msi::DATA, &[0xff; 2]);
    }

    fn set(&mut self, offset: usize, value: &[u8]) {
        if let Some(bytes) = self.bytes.get_mut(offset..offset + value.len()) {
            bytes.copy_from_slice(value);
        }
    }

    fn allow(&mut self, offset: usize, mask: &[u8]) {
        if let Some(bits) = self.writable.get_mut(offset..offset + mask.len()) {
            bits.copy_from_slice(mask);
        }
    }

    fn word(&self, offset: usize) -> u16 {
        let byte = |offset| self.bytes.get(offset).copied().unwrap_or(0);
        u16::from_le_bytes([byte(offset), byte(offset + 1)])
    }

    fn dword(&self, offset: usize) -> u32 {
        u32::from(self.word(offset)) | u32::from(self.word(offset + 2)) << 16
    }

    /// Reads a range that lies within the space. `interrupt` is the state of the INTx pin, which
    /// shows in the status register.
    pub fn read(&self, range: Range<usize>, interrupt: bool, data: &mut [u8]) {
        for (offset, byte) in range.zip(data) {
            *byte = self.bytes.get(offset).copied().unwrap_or(0);
            if offset == STATUS && interrupt {
                *byte |= status::INTERRUPT.to_le_bytes()[0];
            }
        }
    }

    /// Writes a range; bits that a driver may not write stay as they are.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        let bytes = self.bytes.iter_mut().zip(&self.writable).skip(offset);
        for ((byte, writable), new) in bytes.zip(data) {
            *byte = (*byte & !writable) | (new & writable);
        }
    }

    /// What the window's data bytes stand for, if that can be accessed and the range touches them.
    pub fn window_target(&self, range: &Range<usize>) -> Option<WindowTarget> {
        let window = self.window?;
        if range.start >= window.data + 4 || range.end <= window.data {
            return None;
        }
        let bar = u32::from(*self.bytes.get(window.bar)?);
        let (offset, length) = (self.dword(window.offset), self.dword(window.length));
        if bar >= 6 || !matches!(length, 1 | 2 | 4) || offset % length != 0 {
            return None;
        }
        let length = usize::try_from(length).ok()?;
        let data = (window.data, window.data + length);
        Some(WindowTarget { bar, offset: offset.into(), length, data })
    }

    /// The bytes of a range, for the kit itself to read or change.
    pub fn bytes_mut(&mut self, (start, end): (usize, usize)) -> &mut [u8] {
        self.bytes.get_mut(start..end).unwrap_or_default()
    }

    /// Back to power-on.
    pub fn reset(&mut self) {
        self.bytes = self.at_reset;
    }

    /// Whether the device may access guest memory.
    pub fn bus_master(&self) -> bool {
        self.word(COMMAND) & command::BUS_MASTER != 0
    }

    /// Whether the driver has switched the interrupt pin off.
    pub fn interrupt_disabled(&self) -> bool {
        self.word(COMMAND) & command::INTERRUPT_DISABLE != 0
    }

    /// Whether the driver has enabled MSI-X.
    pub fn msix_enabled(&self) -> bool {
        self.msix_control() & msix::ENABLE != 0
    }

    /// Whether the driver has masked all MSI-X vectors at once.
    pub fn msix_function_masked(&self) -> bool {
        self.msix_control() & msix::FUNCTION_MASK != 0
    }

    /// How many MSI vectors the driver allows, if it has enabled MSI.
    pub fn msi_vectors_allowed(&self) -> Option<usize> {
        let (start, vectors) = self.msi?;
        let control = self.word(start + msi::CONTROL);
        let allowed = 1 << ((control & msi::ALLOWED) >> msi::ALLOWED_SHIFT);
        (control & msi::ENABLE != 0).then_some(usize::from(vectors).min(allowed))
    }

    fn msix_control(&self) -> u16 {
        self.msix.map_or(0, |start| self.word(start + msix::CONTROL))
    }
}

/// The MSI-X capability behind id and next pointer: message control, table, pending bits.
fn msix_body(msix: &Msix) -> Vec<u8> {
    let control = msix.vectors - 1;
    // The low three bits of an offset, which are zero, hold the number of the BAR.
    let place = |offset: u64| u32::try_from(offset | msix.bar as u64).unwrap_or(0).to_le_bytes();
    [&control.to_le_bytes()[..], &place(msix.table), &place(msix.pba)].concat()
}

/// The MSI capability behind id and next pointer: message control, and zeros for the message.
fn msi_body(vectors: u16) -> Vec<u8> {
    let capable = u16::try_from(vectors.ilog2()).unwrap_or(0) << msi::CAPABLE_SHIFT;
    let mut body = (msi::ADDRESS_64 | capable).to_le_bytes().to_vec();
    body.resize(msi::BODY_SIZE, 0);
    body
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::description::Identity;

    fn description() -> Description {
        Description::new(Identity::new(0x1234, 0xcafe).revision(0x10))
            .bar(0, Bar::memory32(4096))
            .bar(1, Bar::io(32))
            .bar(2, Bar::memory64(1 << 33).prefetchable())
            .bar(4, Bar::memory32(8192))
            .interrupt_pin()
            .msix(Msix { vectors: 2, bar: 4, table: 0, pba: 0x1000 })
            .msi(4)
            .capability(0x09, vec![7; 5])
    }

    fn read(space: &ConfigSpace, offset: usize, length: usize) -> u64 {
        let mut bytes = [0; 8];
        space.read(offset..offset + length, false, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn header_of_a_plain_device() {
        let plain = Description::new(Identity::new(0x1234, 0xcafe).revision(0x10))
            .bar(0, Bar::memory32(4096));
        let space = ConfigSpace::new(&plain);
        assert_eq!(read(&space, VENDOR_ID, 4), 0xcafe_1234);
        assert_eq!(read(&space, REVISION, 4), 0x00ff_0010);
        assert_eq!(read(&space, STATUS, 2), 0, "no capabilities, fast timing");
        assert_eq!(read(&space, 0x0e, 1), 0, "header type 0");
        assert_eq!(read(&space, SUBSYSTEM_VENDOR_ID, 4), 0x1100_1af4);
        assert_eq!(read(&space, CAPABILITIES_POINTER, 1), 0);
        assert_eq!(read(&space, INTERRUPT_PIN, 1), 0);
    }

    #[test]
    fn all_ones_in_a_bar_read_back_as_its_size() {
        let mut space = ConfigSpace::new(&description());
        let mut sized = |index: usize| {
            space.write(BARS + 4 * index, &[0xff; 4]);
            read(&space, BARS + 4 * index, 4)
        };
        let bars: [u64; 6] = std::array::from_fn(&mut sized);
        assert_eq!(bars, [0xffff_f000, 0xffff_ffe1, 0x0000_000c, 0xffff_fffe, 0xffff_e000, 0]);
    }

    #[test]
    fn capabilities_are_linked() {
        let space = ConfigSpace::new(&description());
        assert_eq!(read(&space, STATUS, 2), u64::from(status::CAPABILITIES));
        assert_eq!(read(&space, CAPABILITIES_POINTER, 1), 0x40);
        assert_eq!(read(&space, 0x40, 4), 0x0001_4c11, "MSI-X, next at 0x4c, two vectors");
        assert_eq!(read(&space, 0x44, 8), 0x0000_1004_0000_0004);
        assert_eq!(read(&space, 0x4c, 4), 0x0084_5c05, "MSI, next at 0x5c, 64-bit, four vectors");
        assert_eq!(read(&space, 0x5c, 2), 0x0009, "vendor specific, the last");
        assert_eq!(read(&space, 0x5e, 5), 0x07_0707_0707);
    }

    #[test]
    fn a_device_with_msi_alone_has_it_first() {
        let space = ConfigSpace::new(&Description::new(Identity::new(1, 2)).msi(1));
        assert_eq!(read(&space, CAPABILITIES_POINTER, 1), 0x40);
        assert_eq!(read(&space, 0x40, 4), 0x0080_0005);
    }

    #[test]
    fn msix_control_has_two_writable_bits() {
        let mut space = ConfigSpace::new(&description());
        space.write(0x42, &[0xff, 0xff]);
        assert_eq!(read(&space, 0x42, 2), 0xc001);
        assert!(space.msix_enabled() && space.msix_function_masked());
        // Some QEMU versions write the high byte alone.
        space.write(0x43, &[0x80]);
        assert!(space.msix_enabled() && !space.msix_function_masked());
    }

    #[test]
    fn msi_has_the_writable_bits_of_its_message() {
        let mut space = ConfigSpace::new(&description());
        assert_eq!(space.msi_vectors_allowed(), None);
        space.write(0x4c, &[0xff; 16]);
        assert_eq!(read(&space, 0x4c, 8), 0xffff_fffc_00f5_5c05);
        assert_eq!(read(&space, 0x54, 8), 0x0000_ffff_ffff_ffff);
        assert_eq!(space.msi_vectors_allowed(), Some(4), "more than there are");
        space.write(0x4e, &[0x11]);
        assert_eq!(space.msi_vectors_allowed(), Some(2));
        space.write(0x4e, &[0x10]);
        assert_eq!(space.msi_vectors_allowed(), None);
    }

    #[test]
    fn the_interrupt_pin_shows_in_the_status_register() {
        let space = ConfigSpace::new(&description());
        let mut status = [0; 2];
        space.read(STATUS..STATUS + 2, true, &mut status);
        assert_eq!(u16::from_le_bytes(status), status::INTERRUPT | status::CAPABILITIES);
    }

    #[test]
    fn reset_undoes_what_a_driver_wrote() {
        let mut space = ConfigSpace::new(&description());
        space.write(0, &[0xff; SIZE]);
        assert!(space.bus_master());
        space.reset();
        assert!(!space.bus_master());
        assert_eq!(space.bytes, ConfigSpace::new(&description()).bytes);
    }

    proptest! {
        #[test]
        fn no_write_changes_what_is_read_only(
            writes in prop::collection::vec((0_usize..300, prop::collection::vec(any::<u8>(), 0..300)), 0..50)
        ) {
            let fresh = ConfigSpace::new(&description());
            let mut space = fresh.clone();
            for (offset, data) in writes {
                space.write(offset, &data);
            }
            for offset in 0..SIZE {
                let fixed = !fresh.writable[offset];
                prop_assert_eq!(space.bytes[offset] & fixed, fresh.bytes[offset] & fixed);
            }
        }
    }
}
