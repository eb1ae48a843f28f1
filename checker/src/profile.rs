//! What an exercise expects: the device's registers, the driver's calls, the program's numbers.
//!
//! A profile is a TOML file. That of the published device is built in ([`Profile::published`]); a
//! course that extends the device writes one of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::handed_in::Part;

/// The published device's profile.
const PUBLISHED: &str = include_str!("../profiles/my_rng.toml");

/// An exercise.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What has to be handed in.
    #[serde(default)]
    pub hand_in: HandIn,
    /// The device.
    pub device: Device,
    /// What is in its BAR 0.
    #[serde(rename = "register")]
    pub registers: Vec<Register>,
    /// Its interrupts.
    #[serde(default, rename = "interrupt")]
    pub interrupts: Vec<Interrupt>,
    /// What it writes to the guest's memory by itself.
    #[serde(default, rename = "dma")]
    pub transfers: Vec<Transfer>,
    /// The driver.
    pub driver: Driver,
    /// The driver's calls.
    #[serde(rename = "ioctl")]
    pub ioctls: Vec<Ioctl>,
    /// The application.
    pub app: App,
    /// How long things may take.
    pub seconds: Seconds,
    /// Points of a check that is not worth one point, by the check's id.
    #[serde(default)]
    pub points: BTreeMap<String, u32>,
}

/// What has to be handed in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HandIn {
    /// The parts that a submission has to have; one that lacks one gets none of that part's points.
    /// Any others are checked when they are there.
    #[serde(default)]
    pub required: Vec<Part>,
}

/// The device on the bus.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Device {
    /// PCI vendor id.
    pub vendor: u16,
    /// PCI device id.
    pub device: u16,
    /// PCI revision; anything goes if not said.
    pub revision: Option<u8>,
    /// What BAR 0 is.
    #[serde(default)]
    pub bar: BarKind,
    /// Size of BAR 0 in bytes.
    pub bar_size: usize,
    /// What accesses of one or two bytes do.
    #[serde(default)]
    pub narrow: Narrow,
    /// What accesses of eight bytes do.
    #[serde(default)]
    pub wide: Wide,
    /// What is where no register is.
    #[serde(default)]
    pub rest: Rest,
    /// A device of this kind, for checks of drivers and applications: a Rust file or a crate's
    /// folder, next to the profile. If not said, my-rng-server is the device.
    pub source: Option<PathBuf>,
}

/// What a BAR is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BarKind {
    /// Memory with an address of 32 bits that is not prefetchable.
    Memory32,
    /// Any memory.
    #[default]
    Memory,
}

/// What accesses that are narrower than a register do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Narrow {
    /// At a register's offset a read gives the low bytes of a new value, and a write writes what it
    /// has, with zeros above; at other offsets in a register there is nothing.
    LowBytes,
    /// Anything.
    #[default]
    Unspecified,
}

/// What accesses do that are wider than a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wide {
    /// They are two of four bytes, the low one first.
    TwoWords,
    /// Anything.
    #[default]
    Unspecified,
}

/// What is in the BAR where no register is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rest {
    /// It reads as 0 and ignores writes.
    ReadsZero,
    /// Anything.
    #[default]
    Unspecified,
}

/// The driver, as programs see it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Driver {
    /// The path of its device node.
    pub node: String,
    /// Not used any more: the guest says where BAR 0 is. Profiles that were written before name the
    /// address it has in an x86-64 guest.
    #[serde(default)]
    pub address: Option<u64>,
    /// The major number that some drivers have written in them.
    pub major: u32,
    /// The errors that an unknown ioctl may return.
    pub wrong_ioctl_errors: Vec<i32>,
}

/// A call of the driver's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ioctl {
    /// Its name.
    pub name: String,
    /// Its number, as `_IOR` and its like make it.
    pub number: u32,
    /// Bytes that its argument points to: 4 or 8.
    pub size: usize,
    /// What it does.
    pub kind: IoctlKind,
    /// The registers that it ends in, the low half first.
    pub registers: Vec<String>,
}

/// What an ioctl does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoctlKind {
    /// Draws a number.
    Random,
    /// Seeds the numbers.
    Seed,
    /// Reads a register that keeps a value.
    Get,
    /// Writes a register that keeps a value.
    Set,
}

impl IoctlKind {
    /// Whether the driver fills the argument.
    #[must_use]
    pub fn fills(self) -> bool {
        matches!(self, Self::Random | Self::Get)
    }
}

/// The application.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct App {
    /// Its arguments.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// What it reads.
    #[serde(default)]
    pub input: String,
    /// Numbers that a round prints at least.
    pub numbers: usize,
    /// A driver for it, next to the profile; the checkout's own if not said.
    pub driver: Option<PathBuf>,
}

/// Times, in seconds, on a machine whose guests boot in `boot`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Seconds {
    /// A guest's boot on the machine that the other times are for.
    pub boot: u64,
    /// A few calls or accesses.
    pub call: u64,
    /// Loading or unloading a module.
    pub load: u64,
    /// The application.
    pub app: u64,
}

/// Points of a check that the profile does not name.
const USUAL_POINTS: u32 = 1;

impl Profile {
    /// The published device.
    pub fn published() -> Result<Self> {
        Self::parse(PUBLISHED, Path::new("the built-in profile my_rng.toml"))
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the profile {}", path.display()))?;
        let mut profile = Self::parse(&text, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for file in [&mut profile.device.source, &mut profile.app.driver].into_iter().flatten() {
            *file = folder.join(&*file);
        }
        Ok(profile)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let what = || format!("{} is no profile", path.display());
        // toml's words have the line, the column, and the line itself; those of a profile that extends
        // another one have its words alone.
        let profile: Self = match extend::merged(text, path).with_context(what)? {
            None => toml::from_str(text).with_context(what)?,
            Some(merged) => merged.try_into().with_context(what)?,
        };
        let mistakes = profile.mistakes();
        if !mistakes.is_empty() {
            bail!("{}: {}", path.display(), mistakes.join("\n"));
        }
        Ok(profile)
    }

    /// A register by its name.
    pub fn register(&self, name: &str) -> Result<&Register> {
        let found = self.registers.iter().find(|register| register.name == name);
        found.with_context(|| format!("there is no register {name}"))
    }

    /// The register that has something, if there is one.
    #[must_use]
    pub fn register_at(&self, offset: usize) -> Option<&Register> {
        self.registers.iter().find(|register| register.range().contains(&offset))
    }

    /// The register at an offset, or nothing, for a person.
    #[must_use]
    pub fn named_at(&self, offset: usize) -> String {
        self.register_at(offset).map_or_else(|| "nothing".to_owned(), Register::to_string)
    }

    /// The first register that gives random numbers.
    pub fn random_register(&self) -> Result<&Register> {
        self.first(RegisterKind::Random)
    }

    /// The register that takes the seed.
    pub fn seed_register(&self) -> Result<&Register> {
        self.first(RegisterKind::Seed)
    }

    /// The register with the lower half of the number that this one has the upper half of.
    pub fn low_half_of(&self, high: &Register) -> Result<&Register> {
        let found = self.registers.iter().find(|register| {
            register.kind == RegisterKind::Random && register.range().end == high.offset
        });
        found.with_context(|| {
            format!(
                "register {}: its lower half, of kind random, has to end where it begins",
                high.name
            )
        })
    }

    fn first(&self, kind: RegisterKind) -> Result<&Register> {
        let found = self.registers.iter().find(|register| register.kind == kind);
        found.with_context(|| format!("a register of kind {kind:?} is needed"))
    }

    /// The first ioctl of a kind.
    pub fn ioctl(&self, kind: IoctlKind) -> Result<&Ioctl> {
        let found = self.ioctls.iter().find(|ioctl| ioctl.kind == kind);
        found.with_context(|| format!("the profile has no ioctl of kind {kind:?}"))
    }

    /// What a check is worth.
    #[must_use]
    pub fn points(&self, id: &str) -> u32 {
        self.points.get(id).copied().unwrap_or(USUAL_POINTS)
    }

    /// What all checks of a part are worth together.
    #[must_use]
    pub fn points_of(&self, part: Part) -> u32 {
        let begin = format!("{}-", part.id());
        let of_it = self.points.iter().filter(|(id, _)| id.starts_with(&begin));
        of_it.map(|(_, points)| *points).sum::<u32>().max(USUAL_POINTS)
    }

    /// The registers that a value's parts go to, the low one first.
    pub fn registers_of(&self, ioctl: &Ioctl) -> Result<Vec<&Register>> {
        ioctl.registers.iter().map(|name| self.register(name)).collect()
    }
}

mod bus_master;
mod extend;
mod mistakes;
mod register;

pub use bus_master::{Contents, Interrupt, InterruptKind, Transfer};
pub use register::{Register, RegisterKind, RegisterValue, SeedReads};

#[cfg(test)]
mod tests;
