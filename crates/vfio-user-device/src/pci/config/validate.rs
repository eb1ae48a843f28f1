//! Whether a device can be as it is described, and if not, why not.

use std::ops::Range;

use super::bar::{Bar, BarKind, Register};
use super::capability::Msix;
use super::device_config::DeviceConfig;
use super::error::{CAPABILITY_SPACE, ConfigError};

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
/// What mappable parts of a BAR are multiples of, in bytes: the pages of this system, in which the
/// client maps them. There are processors with pages of 16 or 64 KiB.
fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

impl DeviceConfig {
    /// Checks that such a device can exist.
    ///
    /// # Errors
    /// The first rule of PCI, or of the kit, that it breaks.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(first_error) = &self.first_error {
            return Err(first_error.clone());
        }
        for (index, bar) in self.bars.iter().enumerate() {
            if let Some(bar) = bar {
                self.validate_bar(index, bar)?;
            }
        }
        if let Some(msix) = &self.msix {
            self.validate_msix(msix)?;
        }
        if let Some(vectors) = self.msi.filter(|vectors| !MSI_VECTORS.contains(vectors)) {
            return Err(ConfigError::MsiVectors(vectors));
        }
        if let Some(id) = INTERRUPT_CAPABILITIES.into_iter().find(|id| self.has_capability(*id)) {
            return Err(ConfigError::InterruptCapability(id));
        }
        let mut unsupported = UNSUPPORTED_CAPABILITIES.into_iter();
        if let Some((id, name)) = unsupported.find(|(id, _)| self.has_capability(*id)) {
            return Err(ConfigError::UnsupportedCapability { id, name });
        }
        self.validate_windows()?;
        let sizes =
            self.capabilities.iter().map(|capability| (capability.body.len() + 2).div_ceil(4) * 4);
        let msi_size = if self.msi.is_some() { 16 } else { 0 };
        let msix_size = if self.msix.is_some() { 12 } else { 0 };
        let total = sizes.sum::<usize>() + msi_size + msix_size;
        if total > CAPABILITY_SPACE {
            return Err(ConfigError::CapabilitiesTooLarge(total));
        }
        Ok(())
    }

    fn has_capability(&self, id: u8) -> bool {
        self.capabilities.iter().any(|capability| capability.id == id)
    }

    fn validate_windows(&self) -> Result<(), ConfigError> {
        let with_window = self.capabilities.iter().filter_map(|capability| {
            capability.window.map(|window| (window, capability.body.len() + 2))
        });
        for (position, (window, size)) in with_window.enumerate() {
            let inside = |(start, length): (usize, usize)| {
                start >= 2 && start.checked_add(length).is_some_and(|end| end <= size)
            };
            if position > 0 || !window.fields().into_iter().all(inside) {
                return Err(ConfigError::Window(window));
            }
        }
        Ok(())
    }

    fn validate_bar(&self, index: usize, bar: &Bar) -> Result<(), ConfigError> {
        let sizes = match bar.kind {
            BarKind::Io => IO_BAR_SIZES,
            BarKind::Memory32 => MEMORY_BAR_SIZES.start..(1 << 31) + 1,
            BarKind::Memory64 => MEMORY_BAR_SIZES,
        };
        if !bar.size.is_power_of_two() || !sizes.contains(&bar.size) {
            return Err(ConfigError::BarSize { index, size: bar.size });
        }
        if bar.kind == BarKind::Io && bar.prefetchable {
            return Err(ConfigError::PrefetchablePorts(index));
        }
        if bar.kind == BarKind::Memory64 && !matches!(self.bars.get(index + 1), Some(None)) {
            return Err(ConfigError::NoRoomFor64Bit(index));
        }
        validate_registers(index, bar)?;
        self.validate_mappable(index, bar)
    }

    fn validate_mappable(&self, index: usize, bar: &Bar) -> Result<(), ConfigError> {
        for (position, part) in bar.mmap_areas.iter().enumerate() {
            let apart = |other: Range<u64>| other.end <= part.start || part.end <= other.start;
            let alone = bar.mmap_areas.iter().take(position).cloned().all(apart)
                && bar.registers.iter().map(Register::range).all(apart)
                && self.msix_ranges(index).all(apart);
            let page = page_size();
            let aligned = part.start % page == 0 && part.end % page == 0;
            if !aligned
                || !alone
                || part.is_empty()
                || part.end > bar.size
                || bar.kind == BarKind::Io
            {
                return Err(ConfigError::Mappable { index, part: part.clone() });
            }
        }
        Ok(())
    }

    /// What the MSI-X table and pending bits take of a BAR.
    fn msix_ranges(&self, bar: usize) -> impl Iterator<Item = Range<u64>> {
        let msix = self.msix.filter(|msix| msix.bar == bar);
        msix.into_iter().flat_map(|msix| [msix.table_range(), msix.pba_range()])
    }

    fn validate_msix(&self, msix: &Msix) -> Result<(), ConfigError> {
        let error = ConfigError::Msix(*msix);
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
                return Err(ConfigError::MsixOverRegister { msix: *msix, what, place, register });
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
fn validate_registers(index: usize, bar: &Bar) -> Result<(), ConfigError> {
    for register in &bar.registers {
        if register.size == 0 {
            return Err(ConfigError::EmptyRegister { index, register: *register });
        }
        let end = register.offset.checked_add(register.size);
        if end.is_none_or(|end| end > bar.size) {
            let (register, size) = (*register, bar.size);
            return Err(ConfigError::Register { index, register, size });
        }
    }
    let mut sorted = bar.registers.clone();
    sorted.sort_by_key(|register| register.offset);
    for pair in sorted.windows(2) {
        if let [lower, upper] = *pair {
            if upper.offset < lower.range().end {
                return Err(ConfigError::Overlap { index, registers: [lower, upper] });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
