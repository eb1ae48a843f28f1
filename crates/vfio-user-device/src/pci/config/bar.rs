//! Base address registers and the named registers behind them.

use std::fmt;
use std::ops::Range;

use crate::access::{Bytes, Width};

/// Number of BARs of a PCI device.
pub const BAR_COUNT: usize = 6;

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
    pub(crate) max_access_width: Width,
    pub(crate) registers: Vec<Register>,
    pub(crate) mmap_areas: Vec<Range<u64>>,
}

impl Bar {
    fn new(kind: BarKind, size: u64) -> Self {
        Bar {
            kind,
            size,
            prefetchable: false,
            max_access_width: Width::Dword,
            registers: Vec::new(),
            mmap_areas: Vec::new(),
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
    pub fn max_access_width(mut self, width: Width) -> Self {
        self.max_access_width = width;
        self
    }

    /// Names registers, for logs and messages. They lie in the BAR and do not overlap.
    pub fn registers(mut self, registers: &[Register]) -> Self {
        self.registers = registers.to_vec();
        self
    }

    /// Makes a part of the BAR plain memory that the guest maps and accesses without the
    /// device's callbacks; whole pages. See [`Bus::shared_memory`](crate::Bus::shared_memory).
    pub fn mmap_area(mut self, part: Range<u64>) -> Self {
        self.mmap_areas.push(part);
        self
    }
}
