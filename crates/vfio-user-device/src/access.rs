//! One access of a guest to a register: where, and how wide.

use std::fmt;

/// Width of a register access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Width {
    /// 8 bits.
    Byte = 1,
    /// 16 bits.
    Word = 2,
    /// 32 bits.
    Dword = 4,
    /// 64 bits.
    Qword = 8,
}

impl Width {
    /// From widest to narrowest.
    pub(crate) const DESCENDING: [Width; 4] =
        [Width::Qword, Width::Dword, Width::Word, Width::Byte];

    /// Width in bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> usize {
        self as usize
    }

    /// The bits of a value that an access of this width carries.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self as u32)
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.bytes(), f)
    }
}

/// One access to a BAR: naturally aligned, within the BAR, and no wider than the BAR allows.
///
/// The kit splits everything else as QEMU's memory core does: an 8-byte access to a BAR with
/// 4-byte registers is two accesses, the low one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Number of the BAR, 0 to 5.
    pub bar: usize,
    /// Offset in the BAR in bytes.
    pub offset: u64,
    /// Width of the access.
    pub width: Width,
}

/// A number of bytes: "1 byte", "4 bytes".
pub(crate) struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} byte{plural}", self.0)
    }
}
