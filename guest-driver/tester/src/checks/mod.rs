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
use std::thread;

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
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// One check: what holds when it passes, and a function that fails with what was seen instead.
pub type Check = (&'static str, fn(&Subject) -> Result<Outcome>);

/// The checks of all groups.
const ALL: [(Group, &[Check]); 9] = [
    (Group::Identity, identity::CHECKS),
    (Group::Registers, registers::CHECKS),
    (Group::Ioctls, ioctls::CHECKS),
    (Group::Seeding, seeding::CHECKS),
    (Group::Read, read::CHECKS),
    (Group::Concurrency, concurrency::CHECKS),
    (Group::Errors, errors::CHECKS),
    (Group::Hwrng, hwrng::CHECKS),
    (Group::Latency, latency::CHECKS),
];

/// The checks of these groups, or all of them, with the names of their groups.
pub fn select(groups: &[Group]) -> Vec<(String, Check)> {
    let wanted = ALL.iter().filter(|(group, _)| groups.is_empty() || groups.contains(group));
    wanted.flat_map(|(group, checks)| checks.iter().map(|check| (group.name(), *check))).collect()
}

/// Passes when these numbers were seen.
fn compare(seen: &[u32], expected: &[u32]) -> Result<Outcome> {
    anyhow::ensure!(seen == expected, "{seen:x?} instead of {expected:x?}");
    Ok(Outcome::Pass)
}

/// Does what changes the thread, as the kernel knows it, in one that ends then.
fn in_own_thread<T: Send>(attempt: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(attempt).join()).expect("the thread does not panic")
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
