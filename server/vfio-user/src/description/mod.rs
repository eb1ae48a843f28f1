//! What a device looks like to its guest: identity, BARs, interrupts, capabilities.

mod check;

use std::fmt;
use std::ops::Range;

use crate::device::Width;
use crate::words::Bytes;
pub use check::DescriptionError;

/// Number of BARs of a PCI device.
pub const BAR_COUNT: usize = 6;
/// Bytes of one entry of an MSI-X table.
pub(crate) const MSIX_ENTRY_SIZE: usize = 16;

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

/// A named register. The kit uses the name in logs and messages, which also tell of accesses that do
/// not fit the size; what the register does is the device's affair.
///
/// Names may also stand for larger areas, such as a buffer: any access inside of one fits.
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

    /// Its bytes in the BAR, of a register that has been checked.
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.size
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} at {:#x})", self.name, Bytes(self.size), self.offset)
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

    /// Names registers, for logs and messages. They lie in the BAR and do not overlap.
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
    /// Number of MSI vectors.
    pub(crate) msi: Option<u16>,
    pub(crate) msix: Option<Msix>,
    pub(crate) capabilities: Vec<Capability>,
    /// A mistake made while building, for [`Description::check`] to report.
    mistake: Option<DescriptionError>,
}

impl Description {
    /// A device without BARs, interrupts and capabilities.
    pub fn new(identity: Identity) -> Self {
        Description {
            identity,
            bars: Default::default(),
            interrupt_pin: false,
            msi: None,
            msix: None,
            capabilities: Vec::new(),
            mistake: None,
        }
    }

    /// Adds BAR `index`, 0 to 5.
    pub fn bar(mut self, index: usize, bar: Bar) -> Self {
        match self.bars.get_mut(index) {
            Some(Some(_)) => self.mistake = Some(DescriptionError::BarTwice(index)),
            Some(slot) => *slot = Some(bar),
            None => self.mistake = Some(DescriptionError::NoSuchBar(index)),
        }
        self
    }

    /// Adds the interrupt pin INTA#.
    pub fn interrupt_pin(mut self) -> Self {
        self.interrupt_pin = true;
        self
    }

    /// Adds MSI with 1, 2, 4, 8, 16 or 32 vectors. It needs no place in a BAR. The interrupt pin may
    /// stand beside it, for drivers without MSI, and so may MSI-X: a driver uses one of the three at
    /// a time.
    pub fn msi(mut self, vectors: u16) -> Self {
        self.msi = Some(vectors);
        self
    }

    /// Adds MSI-X.
    pub fn msix(mut self, msix: Msix) -> Self {
        self.msix = Some(msix);
        self
    }

    /// Adds a capability with this id (0x09 for "vendor specific"); `body` is what follows id and
    /// next pointer. All of it is read-only. MSI and MSI-X are not added this way, and those that
    /// drivers write to (PCI Express, power management and the like) are not supported.
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
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x} (rev {:02x})", self.vendor, self.device, self.revision)
    }
}
