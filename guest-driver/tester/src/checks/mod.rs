//! The checks, in the order in which they run. Each file holds one group.

pub mod concurrency;
mod errors;
mod hwrng;
mod identity;
mod ioctls;
mod latency;
mod read;
pub mod readers;
mod registers;
mod seeding;

use crate::character_device::CharacterDevice;
use crate::expected::GeneratorKind;
use crate::pci::Function;
use crate::report::Outcome;
use anyhow::Result;
use clap::ValueEnum;
use std::path::PathBuf;

/// What is checked.
#[derive(Debug)]
pub struct Subject {
    /// The driver's character device.
    pub device: PathBuf,
    /// The device on the bus, if it is there.
    pub pci: Option<Function>,
    /// Its generator.
    pub generator: GeneratorKind,
}

impl Subject {
    fn open(&self) -> Result<CharacterDevice> {
        CharacterDevice::open(&self.device)
    }
}

/// A topic of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// What the device says it is.
    Identity,
    /// The registers, without the driver.
    Registers,
    /// The published ioctls.
    Ioctls,
    /// Sequences after a seed.
    Seeding,
    /// Bulk reads.
    Read,
    /// Many users at once.
    Concurrency,
    /// What has to be refused, and how.
    Errors,
    /// The kernel's hardware RNG framework.
    Hwrng,
    /// Measurements through the driver.
    Latency,
}

impl Group {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Registers => "registers",
            Self::Ioctls => "ioctls",
            Self::Seeding => "seeding",
            Self::Read => "read",
            Self::Concurrency => "concurrency",
            Self::Errors => "errors",
            Self::Hwrng => "hwrng",
            Self::Latency => "latency",
        }
    }
}

/// One check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its topic.
    pub group: Group,
    /// What holds when it passes.
    pub name: &'static str,
    /// Fails with what was seen instead.
    pub run: fn(&Subject) -> Result<Outcome>,
}

/// The checks of these groups, or all of them.
pub fn select(groups: &[Group]) -> Vec<Check> {
    let all = [
        identity::CHECKS,
        registers::CHECKS,
        ioctls::CHECKS,
        seeding::CHECKS,
        read::CHECKS,
        concurrency::CHECKS,
        errors::CHECKS,
        hwrng::CHECKS,
        latency::CHECKS,
    ]
    .concat();
    all.into_iter().filter(|check| groups.is_empty() || groups.contains(&check.group)).collect()
}

/// Fails when a list of numbers is one number again and again.
fn ensure_not_constant(numbers: &[u32]) -> Result<()> {
    let constant = numbers.windows(2).all(|pair| pair[0] == pair[1]);
    anyhow::ensure!(
        !constant,
        "all {} numbers are {:#x}",
        numbers.len(),
        numbers.first().copied().unwrap_or_default()
    );
    Ok(())
}

/// The numbers in some bytes; an incomplete last one is left out.
fn numbers(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.chunks_exact(size_of::<u32>());
    words.filter_map(|word| Some(u32::from_le_bytes(word.try_into().ok()?))).collect()
}
