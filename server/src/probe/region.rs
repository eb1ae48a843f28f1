//! The parts of a device that can be accessed, and the places in them.

use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use vfio_bindings::bindings::vfio as uapi;

/// A region by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionId(pub u32);

impl RegionId {
    /// Configuration space.
    pub const CONFIG: RegionId = RegionId(uapi::VFIO_PCI_CONFIG_REGION_INDEX);

    /// Whether a register of configuration space tells what the region is.
    pub fn is_bar(self) -> bool {
        self.0 <= uapi::VFIO_PCI_BAR5_REGION_INDEX
    }
}

impl FromStr for RegionId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "config" {
            return Ok(RegionId::CONFIG);
        }
        let number = text.parse().map_err(|_| "the number of a BAR, or config, is needed")?;
        Ok(RegionId(number))
    }
}

impl Display for RegionId {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.0 {
            bar if self.is_bar() => write!(f, "BAR {bar}"),
            uapi::VFIO_PCI_ROM_REGION_INDEX => write!(f, "Expansion ROM"),
            uapi::VFIO_PCI_CONFIG_REGION_INDEX => write!(f, "Configuration space"),
            uapi::VFIO_PCI_VGA_REGION_INDEX => write!(f, "VGA"),
            other => write!(f, "Region {other}"),
        }
    }
}

/// Bytes of one access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width(u8);

impl Width {
    pub const ONE: Width = Width(1);
    pub const TWO: Width = Width(2);
    pub const FOUR: Width = Width(4);

    /// In bytes.
    pub fn bytes(self) -> u8 {
        self.0
    }

    /// A number with all its digits, as hexadecimal without 0x.
    pub fn digits(self, value: u64) -> String {
        format!("{value:0digits$x}", digits = 2 * usize::from(self.0))
    }

    /// Whether a register of that width can have this value.
    pub fn fits(self, value: u64) -> bool {
        self.0 == 8 || value >> (8 * self.0) == 0
    }
}

impl FromStr for Width {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(bytes @ (1 | 2 | 4 | 8)) => Ok(Width(bytes)),
            _ => Err("a width of 1, 2, 4 or 8 bytes is needed".into()),
        }
    }
}

/// A place that is read or written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Register {
    /// The number of a BAR, or "config" for configuration space.
    #[arg(value_name = "BAR")]
    pub region: RegionId,
    /// Where the register is in it, in bytes. Need not be aligned.
    #[arg(value_parser = parse_number)]
    pub offset: u64,
    /// Bytes to access at once: 1, 2, 4 or 8.
    pub width: Width,
}

impl Display for Register {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{}, offset {:#x}, width {}", self.region, self.offset, self.width.bytes())
    }
}

/// A part of the device that can be accessed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// In bytes; 0 if the device has no such region.
    pub size: u64,
    /// `VFIO_REGION_INFO_FLAG_*`.
    pub flags: u32,
    /// What can be mapped, if not all of it can.
    pub areas: Vec<Range<u64>>,
}

/// Understands a decimal number, or a hexadecimal one with 0x.
pub fn parse_number(text: &str) -> anyhow::Result<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.context("a number is needed, decimal or hexadecimal with 0x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_numbers_or_config() {
        assert_eq!("0".parse(), Ok(RegionId(0)));
        assert_eq!("config".parse(), Ok(RegionId::CONFIG));
        assert!("bar0".parse::<RegionId>().is_err());
        assert!("-1".parse::<RegionId>().is_err());
    }

    #[test]
    fn widths_are_those_of_registers() {
        for (text, valid) in [("1", true), ("2", true), ("4", true), ("8", true), ("3", false)] {
            assert_eq!(text.parse::<Width>().is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn values_fit_or_do_not() {
        assert!(Width(1).fits(0xff) && !Width(1).fits(0x100));
        assert!(Width(4).fits(u64::from(u32::MAX)) && !Width(4).fits(1 << 32));
        assert!(Width(8).fits(u64::MAX));
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(parse_number("0x10").unwrap(), 16);
        assert_eq!(parse_number("10").unwrap(), 10);
        assert_eq!(parse_number("0xffffffffffffffff").unwrap(), u64::MAX);
        for wrong in ["", "-1", "x", "0x", "18446744073709551616"] {
            assert!(parse_number(wrong).is_err(), "{wrong}");
        }
    }
}
