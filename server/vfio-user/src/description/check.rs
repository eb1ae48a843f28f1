//! Whether a device can be as it is described, and if not, why not.

use std::ops::Range;

use super::{Bar, BarKind, BarWindow, Description, Msix, Register};

/// Smallest and largest memory BAR, in bytes.
const MEMORY_BAR_SIZES: Range<u64> = 16..(1 << 40) + 1;
/// Sizes of I/O BARs in bytes; PCI allows up to 256.
const IO_BAR_SIZES: Range<u64> = 4..257;
/// Numbers of vectors that MSI can have.
const MSI_VECTORS: [u16; 6] = [1, 2, 4, 8, 16, 32];
/// Most vectors that MSI-X has.
const MAX_MSIX_VECTORS: u16 = 2048;
/// Ids of the capabilities of MSI and MSI-X.
const INTERRUPT_CAPABILITIES: [u8; 2] = [0x05, 0x11];
/// Capabilities whose registers a driver writes to reset a device or to change what it does. One
/// that is added by hand is read-only: the driver would believe that it has happened.
const UNSUPPORTED_CAPABILITIES: [(u8, &str); 6] = [
    (0x01, "power management"),
    (0x03, "vital product data"),
    (0x07, "PCI-X"),
    (0x0c, "hot plug"),
    (0x10, "PCI Express"),
    (0x13, "advanced features"),
];
/// Bytes of configuration space that capabilities share.
const CAPABILITY_SPACE: usize = 0x100 - 0x40;
/// Page size that mappable parts of a BAR are multiples of, in bytes.
const PAGE_SIZE: u64 = 4096;

impl Description {
    /// Checks that such a device can exist.
    ///
    /// # Errors
    /// The first rule of PCI, or of the kit, that it breaks.
    pub fn check(&self) -> Result<(), DescriptionError> {
        if let Some(mistake) = &self.mistake {
            return Err(mistake.clone());
        }
        for (index, bar) in self.bars.iter().enumerate() {
            if let Some(bar) = bar {
                self.check_bar(index, bar)?;
            }
        }
        if let Some(msix) = &self.msix {
            self.check_msix(msix)?;
        }
        if let Some(vectors) = self.msi.filter(|vectors| !MSI_VECTORS.contains(vectors)) {
            return Err(DescriptionError::MsiVectors(vectors));
        }
        if let Some(id) = INTERRUPT_CAPABILITIES.into_iter().find(|id| self.has_capability(*id)) {
            return Err(DescriptionError::InterruptCapability(id));
        }
        let mut unsupported = UNSUPPORTED_CAPABILITIES.into_iter();
        if let Some((id, name)) = unsupported.find(|(id, _)| self.has_capability(*id)) {
            return Err(DescriptionError::UnsupportedCapability { id, name });
        }
        self.check_windows()?;
        let sizes =
            self.capabilities.iter().map(|capability| (capability.body.len() + 2).div_ceil(4) * 4);
        let msi_size = if self.msi.is_some() { 16 } else { 0 };
        let msix_size = if self.msix.is_some() { 12 } else { 0 };
        let total = sizes.sum::<usize>() + msi_size + msix_size;
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
        if !bar.size.is_power_of_two() || !sizes.contains(&bar.size) {
            return Err(DescriptionError::BarSize { index, size: bar.size });
        }
        if bar.kind == BarKind::Io && bar.prefetchable {
            return Err(DescriptionError::PrefetchablePorts(index));
        }
        if bar.kind == BarKind::Memory64 && !matches!(self.bars.get(index + 1), Some(None)) {
            return Err(DescriptionError::NoRoomFor64Bit(index));
        }
        check_registers(index, bar)?;
        self.check_mappable(index, bar)
    }

    fn check_mappable(&self, index: usize, bar: &Bar) -> Result<(), DescriptionError> {
        for (position, part) in bar.mappable.iter().enumerate() {
            let apart = |other: Range<u64>| other.end <= part.start || part.end <= other.start;
            let alone = bar.mappable.iter().take(position).cloned().all(apart)
                && bar.registers.iter().map(Register::range).all(apart)
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
        for (register, (what, range)) in bar.registers.iter().flat_map(|register| {
            [("table entries", &table), ("pending bits", &pba)].map(|part| (*register, part))
        }) {
            if register.offset < range.end && range.start < register.range().end {
                let place = range.clone();
                return Err(DescriptionError::MsixOverRegister {
                    msix: *msix,
                    what,
                    place,
                    register,
                });
            }
        }
        let vectors = (1..=MAX_MSIX_VECTORS).contains(&msix.vectors);
        if vectors && apart && fits(&table) && fits(&pba) && bar.kind != BarKind::Io {
            Ok(())
        } else {
            Err(error)
        }
    }
}

/// Whether a BAR's registers lie in it, and apart from each other.
fn check_registers(index: usize, bar: &Bar) -> Result<(), DescriptionError> {
    for register in &bar.registers {
        if register.size == 0 {
            return Err(DescriptionError::EmptyRegister { index, register: *register });
        }
        let end = register.offset.checked_add(register.size);
        if end.is_none_or(|end| end > bar.size) {
            let (register, size) = (*register, bar.size);
            return Err(DescriptionError::Register { index, register, size });
        }
    }
    let mut sorted = bar.registers.clone();
    sorted.sort_by_key(|register| register.offset);
    for pair in sorted.windows(2) {
        if let [lower, upper] = *pair {
            if upper.offset < lower.range().end {
                return Err(DescriptionError::Overlap { index, registers: [lower, upper] });
            }
        }
    }
    Ok(())
}

/// For a size that is none: which power of two comes next.
fn next_power(size: u64) -> String {
    match size.checked_next_power_of_two() {
        Some(next) if next != size => format!(" (the next power of two is {next})"),
        _ => String::new(),
    }
}

/// Why a device cannot look like its description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
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
    #[error("capability {0:#04x} is added by Description::msi or Description::msix, not by hand")]
    InterruptCapability(u8),
    /// Capabilities that are more than bytes to read.
    #[error(
        "capability {id:#04x} ({name}) is not supported: drivers write to it, and what Description::capability adds is read-only; leave it out"
    )]
    UnsupportedCapability {
        /// Its id.
        id: u8,
        /// What it is.
        name: &'static str,
    },
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

#[cfg(test)]
mod tests;
