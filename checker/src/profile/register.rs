//! A register of a device's BAR 0, and what it does.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;

/// What a register of kind `seed` reads as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedReads {
    /// 0.
    Zero,
    /// What was written to it last.
    Written,
    /// Anything.
    #[default]
    Unspecified,
}

/// A register.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Register {
    /// Its name, in capitals.
    pub name: String,
    /// Offset in BAR 0.
    pub offset: usize,
    /// Bytes.
    pub width: usize,
    /// What it does.
    pub kind: RegisterKind,
    /// The value at first, of a register that keeps one.
    #[serde(default)]
    pub reset: u64,
    /// The bits that it keeps; all of them if not said.
    pub mask: Option<u64>,
    /// What it reads as, if it takes the seed.
    #[serde(default)]
    pub reads: SeedReads,
    /// What sets its bits, if they are cleared by writes.
    pub set_by: Option<RegisterValue>,
}

/// A register with a value: that of a write, or bits that the device sets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegisterValue {
    /// The register's name.
    pub register: String,
    /// The value.
    pub value: u64,
}

/// What a register does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegisterKind {
    /// Every read gives a new number.
    Random,
    /// The upper half of the number whose lower half was read last, from the random register
    /// before it.
    HighHalf,
    /// A write restarts the numbers; what it reads as is said by `reads`.
    Seed,
    /// Reads as 0 and ignores writes.
    ReadsZero,
    /// Keeps what is written.
    Value,
    /// The device sets its bits, after what `set-by` says; a write clears those bits that it has ones
    /// for.
    WriteOneToClear,
    /// Something that is not checked: a command, or what a command leaves.
    Other,
}

impl Register {
    /// Its bytes in the BAR.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.width
    }

    /// The bits that it has.
    #[must_use]
    pub fn bits(&self) -> u64 {
        if self.width >= 8 { u64::MAX } else { (1 << (8 * self.width)) - 1 }
    }

    /// The bits that it keeps, when it keeps a value; those that the device sets, when writes clear
    /// them.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.mask.unwrap_or(u64::MAX) & self.bits()
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (offset {:#x})", self.name, self.offset)
    }
}
