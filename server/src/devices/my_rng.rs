//! `my_rng`, the teaching device: a PCI random number generator with two registers.

/// Offset of RANDOM in BAR 0: every read returns a new 32-bit number.
pub const RANDOM: u64 = 0x0;
/// Offset of SEED in BAR 0: a write seeds the generator, reads give 0.
pub const SEED: u64 = 0x4;
/// Size of BAR 0 in bytes.
pub const BAR_SIZE: u64 = 4096;
/// PCI vendor id.
pub const VENDOR_ID: u16 = 0x1234;
/// PCI device id.
pub const DEVICE_ID: u16 = 0xcafe;
