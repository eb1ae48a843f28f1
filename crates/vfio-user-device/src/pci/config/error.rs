//! What is wrong with a device's configuration.

use std::ops::Range;

use super::bar::Register;
use super::capability::{BarWindow, Msix};

/// Bytes of configuration space that capabilities share.
pub(super) const CAPABILITY_SPACE: usize = 0x100 - 0x40;

/// For a size that is none: which power of two comes next.
fn next_power(size: u64) -> String {
    match size.checked_next_power_of_two() {
        Some(next) if next != size => format!(" (the next power of two is {next})"),
        _ => String::new(),
    }
}

/// Which rule a device's configuration breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There are six BARs.
    #[error("there is no BAR {0}; BARs are numbered 0 to 5")]
    NoSuchBar(usize),
    /// A BAR was described more than once.
    #[error("BAR {0} is described twice; put all of its registers into one Bar::registers")]
    BarTwice(usize),
    /// BAR sizes are powers of two.
    #[error("BAR {index} of {size} bytes{}: 32-bit memory has 16 to 2^31 bytes, 64-bit memory up to 2^40, I/O ports 4 to 256, and always a power of two", next_power(*size))]
    BarSize {
        /// Number of the BAR.
        index: usize,
        /// Its size in bytes.
        size: u64,
    },
    /// I/O ports have side effects.
    #[error("BAR {0}: I/O ports are never prefetchable")]
    PrefetchablePorts(usize),
    /// A 64-bit BAR takes two places.
    #[error("BAR {0} is a 64-bit one and needs the BAR after it to be free")]
    NoRoomFor64Bit(usize),
    /// A register lies outside of its BAR.
    #[error(
        "register {register} reaches past the end of BAR {index}, which has {size:#x} bytes: give it a smaller offset, or the BAR more bytes"
    )]
    Register {
        /// Number of the BAR.
        index: usize,
        /// The register.
        register: Register,
        /// Size of the BAR in bytes.
        size: u64,
    },
    /// A register without bytes.
    #[error("register {} at {:#x} of BAR {index} has a size of 0 bytes: say how many it has", register.name, register.offset)]
    EmptyRegister {
        /// Number of the BAR.
        index: usize,
        /// The register.
        register: Register,
    },
    /// Two registers share bytes.
    #[error("registers {} and {} of BAR {index} overlap: move one of them, or name the place once if reads and writes differ there (\"{}/{}\")", registers[0], registers[1], registers[0].name, registers[1].name)]
    Overlap {
        /// Number of the BAR.
        index: usize,
        /// The registers, the lower one first.
        registers: [Register; 2],
    },
    /// MSI has up to 2^5 vectors.
    #[error("MSI with {0} vectors: 1, 2, 4, 8, 16 or 32 are possible")]
    MsiVectors(u16),
    /// MSI and MSI-X are the kit's.
    #[error("capability {0:#04x} is added by DeviceConfig::msi or DeviceConfig::msix, not by hand")]
    InterruptCapability(u8),
    /// Capabilities that are more than bytes to read.
    #[error(
        "capability {id:#04x} ({name}) is not supported: drivers write to it, and what DeviceConfig::capability adds is read-only; leave it out"
    )]
    UnsupportedCapability {
        /// Its id.
        id: u8,
        /// What it is.
        name: &'static str,
    },
    /// Mappable parts are whole pages of memory BARs, and nothing else is in them.
    #[error(
        "mappable part {part:#x?} of BAR {index} has to be whole pages of {page} bytes of a memory BAR, without registers, MSI-X or another such part",
        page = rustix::param::page_size()
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
    /// The kit answers accesses to the MSI-X table and to the pending bits.
    #[error(
        "MSI-X {what} at {:#x} to {:#x} of BAR {} overlap register {register}: move one of them",
        place.start, place.end - 1, msix.bar
    )]
    MsixOverRegister {
        /// MSI-X as it is described.
        msix: Msix,
        /// Which part of it.
        what: &'static str,
        /// The bytes of that part.
        place: Range<u64>,
        /// The register, of which the device would see no accesses.
        register: Register,
    },
    /// One window, inside its capability.
    #[error("{0:?}: its fields have to lie in its capability, and there is one window at most")]
    Window(BarWindow),
    /// Configuration space has an end.
    #[error("capabilities of {0} bytes, {CAPABILITY_SPACE} fit")]
    CapabilitiesTooLarge(usize),
}
