//! What a device is, much as `lspci -vv` shows it, without a database of names.

use std::io::Write;

use anyhow::ensure;
use vfio_bindings::bindings::vfio as uapi;

use super::capabilities;
use super::device::Device;
use super::pci::{self, bar, header};
use super::region::{Region, RegionId, Register, Width};

/// Names of interrupt indexes, in their order.
const IRQS: [&str; uapi::VFIO_PCI_NUM_IRQS as usize] = ["INTx", "MSI", "MSI-X", "ERR", "REQ"];

/// Describes a device.
///
/// # Errors
/// The server fails to answer, its configuration space is too small to be one, or nothing can be
/// written.
pub fn describe(device: &mut Device, out: &mut impl Write) -> anyhow::Result<()> {
    let size = device.region(RegionId::CONFIG).size;
    ensure!(
        size >= pci::CONFIG_SIZE,
        "the device's configuration space has {size} bytes, and that of a PCI device 256"
    );
    let vendor = config(device, header::VENDOR_ID, Width::TWO)?;
    write_identity(device, out, vendor)?;
    for (id, region) in device.regions() {
        write_region(device, out, id, &region)?;
    }
    write_capabilities(device, out, vendor)?;
    write_interrupts(device, out)?;
    writeln!(out, "\tReset: {}", if device.can_be_reset() { "yes" } else { "no" })?;
    Ok(())
}

fn write_identity(device: &mut Device, out: &mut impl Write, vendor: u64) -> anyhow::Result<()> {
    let id = config(device, header::DEVICE_ID, Width::TWO)?;
    let revision = config(device, header::REVISION, Width::ONE)?;
    let class = config(device, header::CLASS, Width::TWO)?;
    let interface = config(device, header::PROGRAMMING_INTERFACE, Width::ONE)?;
    writeln!(out, "{vendor:04x}:{id:04x} (rev {revision:02x}), class {class:04x}{interface:02x}")?;
    let subsystem_vendor = config(device, header::SUBSYSTEM_VENDOR_ID, Width::TWO)?;
    let subsystem = config(device, header::SUBSYSTEM_ID, Width::TWO)?;
    writeln!(out, "\tSubsystem: {subsystem_vendor:04x}:{subsystem:04x}")?;
    Ok(())
}

fn write_region(
    device: &mut Device,
    out: &mut impl Write,
    id: RegionId,
    region: &Region,
) -> anyhow::Result<()> {
    write!(out, "\t{id}: ")?;
    if id.is_bar() {
        write!(out, "{} ", bar_kind(device, id)?)?;
    }
    write!(out, "[size={}]", short_size(region.size))?;
    let both = uapi::VFIO_REGION_INFO_FLAG_READ | uapi::VFIO_REGION_INFO_FLAG_WRITE;
    match region.flags & both {
        uapi::VFIO_REGION_INFO_FLAG_READ => write!(out, " [read only]")?,
        uapi::VFIO_REGION_INFO_FLAG_WRITE => write!(out, " [write only]")?,
        _ => {}
    }
    if region.flags & uapi::VFIO_REGION_INFO_FLAG_MMAP != 0 {
        write!(out, "\n\t\tMappable: {}", mappable(region))?;
    }
    writeln!(out)?;
    Ok(())
}

/// What the register of a BAR says about it.
fn bar_kind(device: &mut Device, id: RegionId) -> anyhow::Result<String> {
    let place = header::BARS + 4 * u64::from(id.0);
    let low = config(device, place, Width::FOUR)?;
    if low & bar::IO != 0 {
        let address = low & !bar::IO_FLAGS;
        return Ok(if address == 0 {
            "I/O ports".into()
        } else {
            format!("I/O ports at {address:x}")
        });
    }
    let wide = low & bar::TYPE == bar::MEMORY_64;
    let high = if wide && place + 4 < header::BARS_END {
        config(device, place + 4, Width::FOUR)?
    } else {
        0
    };
    let address = high << 32 | (low & !bar::MEMORY_FLAGS);
    Ok(format!(
        "Memory{} ({}-bit, {}prefetchable)",
        if address == 0 { String::new() } else { format!(" at {address:x}") },
        if wide { 64 } else { 32 },
        if low & bar::PREFETCHABLE != 0 { "" } else { "non-" }
    ))
}

/// The parts of a region that can be mapped.
fn mappable(region: &Region) -> String {
    if region.areas.is_empty() {
        return "all".into();
    }
    let areas = region
        .areas
        .iter()
        .map(|area| format!("{:08x}-{:08x}", area.start, area.end.saturating_sub(1)));
    areas.collect::<Vec<_>>().join(", ")
}

/// A size as lspci writes it.
fn short_size(bytes: u64) -> String {
    let mut size = bytes;
    for unit in ["", "K", "M", "G"] {
        if size == 0 || size % 1024 != 0 {
            return format!("{size}{unit}");
        }
        size /= 1024;
    }
    format!("{size}T")
}

fn write_capabilities(
    device: &mut Device,
    out: &mut impl Write,
    vendor: u64,
) -> anyhow::Result<()> {
    if config(device, header::STATUS, Width::TWO)? & pci::STATUS_CAPABILITIES == 0 {
        writeln!(out, "\tCapabilities: none")?;
        return Ok(());
    }
    let found = capabilities::list(vendor == pci::VIRTIO_VENDOR, |place| {
        let value = config(device, place, Width::FOUR)?;
        anyhow::Ok(u32::try_from(value).unwrap_or_default())
    })?;
    for capability in found {
        writeln!(out, "\tCapabilities: {capability}")?;
    }
    Ok(())
}

fn write_interrupts(device: &mut Device, out: &mut impl Write) -> anyhow::Result<()> {
    let pin = config(device, header::INTERRUPT_PIN, Width::ONE)?;
    let counts = device.irqs()?;
    let items = counts.iter().enumerate().map(|(index, count)| {
        let name = IRQS.get(index).map_or(format!("index {index}"), |name| (*name).into());
        count.map_or(format!("{name} refused"), |count| format!("{name} {count}"))
    });
    let items: Vec<String> = items.collect();
    match pin {
        0 => {}
        1 => writeln!(out, "\tInterrupt: pin A")?,
        2 => writeln!(out, "\tInterrupt: pin B")?,
        3 => writeln!(out, "\tInterrupt: pin C")?,
        4 => writeln!(out, "\tInterrupt: pin D")?,
        other => writeln!(out, "\tInterrupt: pin {other:#x}, which is none")?,
    }
    writeln!(
        out,
        "\tInterrupts: {}",
        if items.is_empty() { "none".into() } else { items.join(", ") }
    )?;
    Ok(())
}

/// Reads from configuration space.
fn config(device: &mut Device, offset: u64, width: Width) -> anyhow::Result<u64> {
    Ok(device.read(Register { region: RegionId::CONFIG, offset, width })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_lspcis() {
        for (bytes, text) in [
            (8, "8"),
            (256, "256"),
            (4096, "4K"),
            (5 << 20, "5M"),
            (1 << 30, "1G"),
            (1 << 50, "1024T"),
        ] {
            assert_eq!(short_size(bytes), text);
        }
    }

    #[test]
    fn mappable_areas_are_named_with_their_last_byte() {
        let mut region = Region::default();
        assert_eq!(mappable(&region), "all");
        region.areas = vec![0..0x1000, 0x2000..0x3000];
        assert_eq!(mappable(&region), "00000000-00000fff, 00002000-00002fff");
    }
}
