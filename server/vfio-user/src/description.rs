//! What a device looks like to its guest: identity, BARs, interrupts, capabilities.

use std::fmt;
use std::ops::Range;

use crate::device::Width;

/// Number of BARs of a PCI device.
pub const BAR_COUNT: usize = 6;
/// Smallest and largest memory BAR, in bytes.
const MEMORY_BAR_SIZES: Range<u64> = 16..(1 << 40) + 1;
/// Sizes of I/O BARs in bytes; PCI allows up to 256.
const IO_BAR_SIZES: Range<u64> = 4..257;
/// Bytes of one entry of an MSI-X table.
pub(crate) const MSIX_ENTRY_SIZE: usize = 16;
/// Most vectors that MSI-X has.
const MAX_MSIX_VECTORS: u16 = 2048;
/// Ids of the capabilities of MSI and MSI-X.
const INTERRUPT_CAPABILITIES: [u8; 2] = [0x05, 0x11];
/// Bytes of configuration space that capabilities share.
const CAPABILITY_SPACE: usize = 0x100 - 0x40;
/// Page size that mappable parts of a BAR are multiples of, in bytes.
const PAGE_SIZE: u64 = 4096;

/// Class code of a device, as in the PCI Code and ID Assignment Specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Base class.
    pub base: u8,
    /// Sub-class.
    pub sub: u8,
    /// Programming interface.
    pub interface: u8,
}

impl Class {
    /// Class 00ff00, what QEMU gives to devices that fit nowhere; lspci shows "Unclassified
    /// device".
    pub const UNCLASSIFIED: Class = Class { base: 0x00, sub: 0xff, interface: 0x00 };
}

/// Who a device is: the numbers that drivers are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code.
    pub class: Class,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
}

impl Identity {
    /// An unclassified device, revision 0, with the subsystem 1af4:1100 that QEMU gives to
    /// devices that name none.
    pub const fn new(vendor: u16, device: u16) -> Self {
        Identity {
            vendor,
            device,
            revision: 0,
            class: Class::UNCLASSIFIED,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
        }
    }

    /// Sets the revision.
    pub const fn revision(mut self, revision: u8) -> Self {
        self.revision = revision;
        self
    }

    /// Sets the class code.
    pub const fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Sets the subsystem ids.
    pub const fn subsystem(mut self, vendor: u16, id: u16) -> Self {
        self.subsystem_vendor = vendor;
        self.subsystem = id;
        self
    }
}

/// A named register. The kit uses the name in logs and messages; what the register does is the
/// device's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// As in the device's documentation.
    pub name: &'static str,
    /// Offset in the BAR in bytes.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
}

impl Register {
    /// A register of `size` bytes at `offset`.
    pub const fn new(name: &'static str, offset: u64, size: u64) -> Self {
        Register { name, offset, size }
    }
}

/// Kind of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarKind {
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere; takes the next BAR's place too.
    Memory64,
    /// I/O ports.
    Io,
}

/// One base address register and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    pub(crate) kind: BarKind,
    pub(crate) size: u64,
    pub(crate) prefetchable: bool,
    pub(crate) widest: Width,
    pub(crate) registers: Vec<Register>,
    pub(crate) mappable: Vec<Range<u64>>,
}

impl Bar {
    fn new(kind: BarKind, size: u64) -> Self {
        Bar {
            kind,
            size,
            prefetchable: false,
            widest: Width::Dword,
            registers: Vec::new(),
            mappable: Vec::new(),
        }
    }

    /// 32-bit non-prefetchable memory of `size` bytes, a power of two.
    pub fn memory32(size: u64) -> Self {
        Bar::new(BarKind::Memory32, size)
    }

    /// 64-bit memory of `size` bytes, a power of two. The BAR after it has to stay free.
    pub fn memory64(size: u64) -> Self {
        Bar::new(BarKind::Memory64, size)
    }

    /// `size` I/O ports, a power of two.
    pub fn io(size: u64) -> Self {
        Bar::new(BarKind::Io, size)
    }

    /// Reads have no side effects.
    pub fn prefetchable(mut self) -> Self {
        self.prefetchable = true;
        self
    }

    /// The widest access that the device wants to see; 4 bytes if not said. Wider ones of the
    /// guest arrive in pieces.
    pub fn widest(mut self, widest: Width) -> Self {
        self.widest = widest;
        self
    }

    /// Names registers, for logs and messages.
    pub fn registers(mut self, registers: &[Register]) -> Self {
        self.registers = registers.to_vec();
        self
    }

    /// Makes a part of the BAR plain memory that the guest maps and accesses without the device's
    /// verbs; whole pages. See [`Bus::shared_memory`](crate::Bus::shared_memory).
    pub fn mappable(mut self, part: Range<u64>) -> Self {
        self.mappable.push(part);
        self
    }
}

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

/// All that a guest sees of a device before it touches a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub(crate) identity: Identity,
    pub(crate) bars: [Option<Bar>; BAR_COUNT],
    pub(crate) interrupt_pin: bool,
    pub(crate) msix: Option<Msix>,
    pub(crate) capabilities: Vec<Capability>,
    /// A mistake made while building, for [`Description::check`] to report.
    no_such_bar: Option<usize>,
}

impl Description {
    /// A device without BARs, interrupts and capabilities.
    pub fn new(identity: Identity) -> Self {
        Description {
            identity,
            bars: Default::default(),
            interrupt_pin: false,
            msix: None,
            capabilities: Vec::new(),
            no_such_bar: None,
        }
    }

    /// Adds BAR `index`, 0 to 5.
    pub fn bar(mut self, index: usize, bar: Bar) -> Self {
        match self.bars.get_mut(index) {
            Some(slot) => *slot = Some(bar),
            None => self.no_such_bar = Some(index),
        }
        self
    }

    /// Adds the interrupt pin INTA#.
    pub fn interrupt_pin(mut self) -> Self {
        self.interrupt_pin = true;
        self
    }

    /// Adds MSI-X.
    pub fn msix(mut self, msix: Msix) -> Self {
        self.msix = Some(msix);
        self
    }

    /// Adds a capability with this id (0x09 for "vendor specific"); `body` is what follows id and
    /// next pointer. MSI and MSI-X are not added this way.
    pub fn capability(mut self, id: u8, body: Vec<u8>) -> Self {
        self.capabilities.push(Capability { id, body, window: None });
        self
    }

    /// Adds a capability with a window to the BARs in it, of which a device has one at most. All
    /// of it but the window's fields is read-only.
    pub fn window_capability(mut self, id: u8, body: Vec<u8>, window: BarWindow) -> Self {
        self.capabilities.push(Capability { id, body, window: Some(window) });
        self
    }

    /// Checks that such a device can exist.
    ///
    /// # Errors
    /// The first rule of PCI, or of the kit, that it breaks.
    pub fn check(&self) -> Result<(), DescriptionError> {
        if let Some(index) = self.no_such_bar {
            return Err(DescriptionError::NoSuchBar(index));
        }
        for (index, bar) in self.bars.iter().enumerate() {
            if let Some(bar) = bar {
                self.check_bar(index, bar)?;
            }
        }
        if let Some(msix) = &self.msix {
            self.check_msix(msix)?;
        }
        if let Some(id) = INTERRUPT_CAPABILITIES.into_iter().find(|id| self.has_capability(*id)) {
            return Err(DescriptionError::InterruptCapability(id));
        }
        self.check_windows()?;
        let sizes =
            self.capabilities.iter().map(|capability| (capability.body.len() + 2).div_ceil(4) * 4);
        let msix_size = if self.msix.is_some() { 12 } else { 0 };
        let total = sizes.sum::<usize>() + msix_size;
        if total > CAPABILITY_SPACE {
            return Err(DescriptionError::CapabilitiesTooLarge(total));
        }
        Ok(())
    }

    fn has_capability(&self, id: u8) -> bool {
        self.capabilities.iter().any(|capability| capability.id == id)
    }

    fn check_windows(&self) -> Result<(), DescriptionError> {
        let with_window = self.capabilities.iter().filter_map(|capability| {
            capability.window.map(|window| (window, capability.body.len() + 2))
        });
        for (position, (window, size)) in with_window.enumerate() {
            let inside = |(start, length): (usize, usize)| {
                start >= 2 && start.checked_add(length).is_some_and(|end| end <= size)
            };
            if position > 0 || !window.fields().into_iter().all(inside) {
                return Err(DescriptionError::Window(window));
            }
        }
        Ok(())
    }

    fn check_bar(&self, index: usize, bar: &Bar) -> Result<(), DescriptionError> {
        let sizes = match bar.kind {
            BarKind::Io => IO_BAR_SIZES,
            BarKind::Memory32 => MEMORY_BAR_SIZES.start..(1 << 31) + 1,
            BarKind::Memory64 => MEMORY_BAR_SIZES,
        };
        let prefetchable_io = bar.kind == BarKind::Io && bar.prefetchable;
        if !bar.size.is_power_of_two() || !sizes.contains(&bar.size) || prefetchable_io {
            return Err(DescriptionError::BarSize { index, size: bar.size });
        }
        if bar.kind == BarKind::Memory64 && !matches!(self.bars.get(index + 1), Some(None)) {
            return Err(DescriptionError::NoRoomFor64Bit(index));
        }
        for register in &bar.registers {
            let end = register.offset.checked_add(register.size);
            if register.size == 0 || end.is_none_or(|end| end > bar.size) {
                return Err(DescriptionError::Register {
                    index,
                    register: *register,
                    size: bar.size,
                });
            }
        }
        for (position, part) in bar.mappable.iter().enumerate() {
            let apart = |other: Range<u64>| other.end <= part.start || part.end <= other.start;
            let registers = bar.registers.iter();
            let alone = bar.mappable.iter().take(position).cloned().all(apart)
                && registers
                    .map(|register| register.offset..register.offset + register.size)
                    .all(apart)
                && self.msix_ranges(index).all(apart);
            let aligned = part.start % PAGE_SIZE == 0 && part.end % PAGE_SIZE == 0;
            if !aligned
                || !alone
                || part.is_empty()
                || part.end > bar.size
                || bar.kind == BarKind::Io
            {
                return Err(DescriptionError::Mappable { index, part: part.clone() });
            }
        }
        Ok(())
    }

    /// What the MSI-X table and pending bits take of a BAR.
    fn msix_ranges(&self, bar: usize) -> impl Iterator<Item = Range<u64>> {
        let msix = self.msix.filter(|msix| msix.bar == bar);
        msix.into_iter().flat_map(|msix| [msix.table_range(), msix.pba_range()])
    }

    fn check_msix(&self, msix: &Msix) -> Result<(), DescriptionError> {
        let error = DescriptionError::Msix(*msix);
        let Some(Some(bar)) = self.bars.get(msix.bar) else {
            return Err(error);
        };
        let (table, pba) = (msix.table_range(), msix.pba_range());
        // The capability has 32 bits for an offset.
        let end = bar.size.min(1 << 32);
        let fits = |range: &Range<u64>| range.start % 8 == 0 && range.end <= end;
        let apart = table.end <= pba.start || pba.end <= table.start;
        let vectors = (1..=MAX_MSIX_VECTORS).contains(&msix.vectors);
        if vectors && apart && fits(&table) && fits(&pba) && bar.kind != BarKind::Io {
            Ok(())
        } else {
            Err(error)
        }
    }
}

/// Why a device cannot look like its description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// There are six BARs.
    #[error("there is no BAR {0}; BARs are numbered 0 to 5")]
    NoSuchBar(usize),
    /// BAR sizes are powers of two, and I/O ports have side effects.
    #[error(
        "BAR {index} of {size} bytes: a power of two is needed, 16 to 2^31 for 32-bit memory, up to 2^40 for 64-bit memory, 4 to 256 for I/O ports, which are never prefetchable"
    )]
    BarSize {
        /// Number of the BAR.
        index: usize,
        /// Its size in bytes.
        size: u64,
    },
    /// A 64-bit BAR takes two places.
    #[error("BAR {0} is a 64-bit one and needs the BAR after it to be free")]
    NoRoomFor64Bit(usize),
    /// A register lies outside of its BAR.
    #[error("register {} at {:#x} of {} bytes does not fit into BAR {index} of {size:#x} bytes", register.name, register.offset, register.size)]
    Register {
        /// Number of the BAR.
        index: usize,
        /// The register.
        register: Register,
        /// Size of the BAR in bytes.
        size: u64,
    },
    /// MSI and MSI-X are the kit's.
    #[error("capability {0:#04x} is added by Description::msix, not by hand")]
    InterruptCapability(u8),
    /// Mappable parts are whole pages of memory BARs, and nothing else is in them.
    #[error(
        "mappable part {part:#x?} of BAR {index} has to be whole 4 KiB pages of a memory BAR, without registers, MSI-X or another such part"
    )]
    Mappable {
        /// Number of the BAR.
        index: usize,
        /// The part.
        part: Range<u64>,
    },
    /// MSI-X table and pending bits need their place.
    #[error(
        "{0:?}: 1 to 2048 vectors, table and pending bits apart, 8-byte aligned, in a memory BAR that holds them"
    )]
    Msix(Msix),
    /// One window, inside its capability.
    #[error("{0:?}: its fields have to lie in its capability, and there is one window at most")]
    Window(BarWindow),
    /// Configuration space has an end.
    #[error("capabilities of {0} bytes, {CAPABILITY_SPACE} fit")]
    CapabilitiesTooLarge(usize),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x} (rev {:02x})", self.vendor, self.device, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Description {
        Description::new(Identity::new(0x1234, 0xcafe))
    }

    const WINDOW: BarWindow = BarWindow { bar: 4, offset: 8, length: 12, data: 16 };

    #[test]
    fn possible_devices_pass() {
        let msix = Msix { vectors: 3, bar: 2, table: 0, pba: 0x800 };
        let possible = device()
            .bar(0, Bar::memory32(4096).registers(&[Register::new("LAST", 4092, 4)]))
            .bar(1, Bar::io(32))
            .bar(2, Bar::memory64(8192).mappable(4096..8192))
            .msix(msix)
            .window_capability(9, vec![0; 18], WINDOW)
            .capability(9, vec![0; 14]);
        assert_eq!(possible.check(), Ok(()));
    }

    #[test]
    fn impossible_devices_are_told_why() {
        let msix = Msix { vectors: 2, bar: 0, table: 0, pba: 32 };
        let bar0 = |bar| device().bar(0, bar);
        let memory = || Bar::memory32(4096);
        let impossible = [
            device().bar(6, memory()),
            bar0(Bar::memory32(5000)),
            bar0(Bar::memory32(8)),
            bar0(Bar::io(512)),
            device().bar(5, Bar::memory64(4096)),
            bar0(Bar::memory64(4096)).bar(1, memory()),
            bar0(memory().registers(&[Register::new("OUT", 4094, 4)])),
            bar0(memory().registers(&[Register::new("FAR", u64::MAX, 4)])),
            bar0(memory().mappable(0..100)),
            bar0(memory().mappable(0..4096).registers(&[Register::new("IN", 4, 4)])),
            bar0(memory().mappable(0..4096)).msix(Msix { pba: 64, ..msix }),
            bar0(Bar::memory32(8192).mappable(0..8192).mappable(4096..8192)),
            bar0(Bar::io(32).prefetchable()),
            bar0(Bar::memory64(1 << 34)).msix(Msix { table: 1 << 32, ..msix }),
            bar0(memory()).msix(Msix { table: u64::MAX - 7, ..msix }),
            device().capability(0x11, vec![0; 10]),
            device().msix(msix),
            bar0(memory()).msix(Msix { pba: 16, ..msix }),
            bar0(memory()).msix(Msix { vectors: 0, ..msix }),
            bar0(memory()).msix(Msix { vectors: 2048, pba: 0x8000, ..msix }),
            device().capability(9, vec![0; 200]),
            device().window_capability(9, vec![0; 17], WINDOW),
            device().window_capability(9, vec![0; 18], BarWindow { bar: 1, ..WINDOW }),
            device().window_capability(9, vec![0; 18], WINDOW).window_capability(
                9,
                vec![0; 18],
                WINDOW,
            ),
        ];
        for description in impossible {
            assert!(description.check().is_err(), "{description:?}");
        }
        let error = bar0(memory().registers(&[Register::new("OUT", 4094, 4)])).check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "register OUT at 0xffe of 4 bytes does not fit into BAR 0 of 0x1000 bytes"
        );
    }
}
