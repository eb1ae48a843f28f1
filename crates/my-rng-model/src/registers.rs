//! The teaching device's identity and register map, as the published exercise has them.
//!
//! | register | offset | size | mode | meaning |
//! | --- | --- | --- | --- | --- |
//! | RANDOM | 0x0 | 4 | R | every read returns a new 32-bit number |
//! | SEED | 0x4 | 4 | W | writing seeds the generator; reads as 0 |

/// PCI vendor id.
pub const VENDOR_ID: u16 = 0x1234;
/// PCI device id.
pub const DEVICE_ID: u16 = 0xcafe;
/// PCI revision.
pub const REVISION: u8 = 0x10;
/// Size of BAR 0 in bytes.
pub const BAR_SIZE: u64 = 4096;
/// Offset of RANDOM in BAR 0, in bytes.
pub const RANDOM: u64 = 0x0;
/// Offset of SEED in BAR 0, in bytes.
pub const SEED: u64 = 0x4;
