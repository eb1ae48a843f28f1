//! The 256 bytes of configuration space of a PCI device with a type 0 header.
//!
//! The space is an array of bytes with a second array that says which bits a driver may write, so
//! that BAR sizing needs no code: the low bits of a BAR are simply not writable.

mod state;

use std::ops::Range;

use super::capabilities::{msi, msi_body, msix, msix_body};
use crate::pci::config::{Bar, BarKind, BarWindow, DeviceConfig};

pub(crate) use state::ConfigSpaceState;

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
    /// The space of a device at power-on. The config has been checked.
    pub fn new(config: &DeviceConfig) -> Self {
        let mut space = ConfigSpace {
            bytes: [0; SIZE],
            writable: [0; SIZE],
            at_reset: [0; SIZE],
            msix: None,
            msi: None,
            window: None,
        };
        let identity = &config.identity;
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
        if config.interrupt_pin {
            space.set(INTERRUPT_PIN, &[1]);
        }
        for (index, bar) in config.bars.iter().enumerate() {
            if let Some(bar) = bar {
                space.add_bar(BARS + 4 * index, bar);
            }
        }
        space.add_capabilities(config);
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

    fn add_capabilities(&mut self, config: &DeviceConfig) {
        let mut link = CAPABILITIES_POINTER;
        let mut start = FIRST_CAPABILITY;
        let msix = config.msix.map(|msix| (msix::ID, msix_body(&msix), None));
        let msi = config.msi.map(|vectors| (msi::ID, msi_body(vectors), None));
        let others = config
            .capabilities
            .iter()
            .map(|capability| (capability.id, capability.body.clone(), capability.window));
        for (id, body, window) in msix.into_iter().chain(msi).chain(others) {
            match id {
                msix::ID => self.allow_msix(start),
                msi::ID => self.allow_msi(start, config.msi.unwrap_or(1)),
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

#[cfg(test)]
mod tests;
