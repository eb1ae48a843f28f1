//! What the device says it is.

use super::{Check, Subject};
use crate::report::Outcome;
use anyhow::{Context as _, Result, ensure};
use my_rng_model::registers::BAR_SIZE;

pub const CHECKS: &[Check] = &[
    ("class, revision and subsystem are the published ones", published_identity),
    ("BAR 0 is 4 KiB of 32-bit, non-prefetchable memory", bar0),
];

const PUBLISHED: [(&str, u32); 4] = [
    ("class", 0x00_ff00),
    ("revision", 0x10),
    ("subsystem_vendor", 0x1af4),
    ("subsystem_device", 0x1100),
];

fn published_identity(subject: &Subject) -> Result<Outcome> {
    let function = subject.pci.as_ref().context("no 1234:cafe on the PCI bus")?;
    for (name, expected) in PUBLISHED {
        let value = function.number(name)?;
        ensure!(value == expected, "{name} is {value:#x} instead of {expected:#x}");
    }
    Ok(Outcome::Pass)
}

fn bar0(subject: &Subject) -> Result<Outcome> {
    /// `IORESOURCE_MEM`, `IORESOURCE_PREFETCH` and `IORESOURCE_MEM_64` of the kernel.
    const MEMORY: u64 = 0x200;
    const PREFETCHABLE: u64 = 0x2000;
    const MEMORY_64: u64 = 0x10_0000;

    let function = subject.pci.as_ref().context("no 1234:cafe on the PCI bus")?;
    let resources = std::fs::read_to_string(function.file("resource"))?;
    let first = resources.lines().next().unwrap_or_default();
    let numbers = first.split_whitespace().map(|field| {
        u64::from_str_radix(field.trim_start_matches("0x"), 16).context("resource file")
    });
    let numbers = numbers.collect::<Result<Vec<_>>>()?;
    let [start, end, flags] = numbers[..] else { anyhow::bail!("resource line {first:?}") };
    ensure!(end.wrapping_sub(start) == BAR_SIZE - 1, "BAR 0 is {start:#x} to {end:#x}");
    ensure!(
        flags & (MEMORY | PREFETCHABLE | MEMORY_64) == MEMORY,
        "BAR 0 has resource flags {flags:#x}"
    );
    Ok(Outcome::Pass)
}
