//! What an exercise expects: the device's registers, the driver's calls, the program's numbers.
//!
//! A profile is a TOML file. That of the published device is built in ([`Profile::published`]); a
//! course that extends the device writes one of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::submission::Part;

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

/// What a register of kind `seed` reads as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedReads {
    /// 0.
    Zero,
    /// What was written to it last.
    Written,
    /// Anything.
    #[default]
    Unspecified,
}

/// A register.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Register {
    /// Its name, in capitals.
    pub name: String,
    /// Offset in BAR 0.
    pub offset: usize,
    /// Bytes.
    pub width: usize,
    /// What it does.
    pub kind: RegisterKind,
    /// The value at first, of a register that keeps one.
    #[serde(default)]
    pub reset: u64,
    /// The bits that it keeps; all of them if not said.
    pub mask: Option<u64>,
    /// What it reads as, if it takes the seed.
    #[serde(default)]
    pub reads: SeedReads,
}

/// What a register does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegisterKind {
    /// Every read gives a new number.
    Random,
    /// The upper half of the number whose lower half was read last, from the random register
    /// before it.
    HighHalf,
    /// A write restarts the numbers; what it reads as is said by `reads`.
    Seed,
    /// Reads as 0 and ignores writes.
    ReadsZero,
    /// Keeps what is written.
    Value,
}

/// The driver, as programs see it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Driver {
    /// The path of its device node.
    pub node: String,
    /// The address of BAR 0 that some drivers have written in them.
    pub address: u64,
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
        // toml's words have the line, the column, and the line itself.
        let profile: Self =
            toml::from_str(text).with_context(|| format!("{} is no profile", path.display()))?;
        profile.check().with_context(|| path.display().to_string())?;
        Ok(profile)
    }

    /// Checks what TOML cannot.
    fn check(&self) -> Result<()> {
        for register in &self.registers {
            let Register { name, offset, width, .. } = register;
            if !matches!(width, 1 | 2 | 4) || offset % width != 0 {
                bail!("register {name}: a width of 1, 2 or 4 bytes at a multiple of it is needed");
            }
            if register.range().end > self.device.bar_size {
                bail!("register {name} at {offset:#x} is beyond the BAR's end");
            }
            if register.kind != RegisterKind::Seed && register.reads != SeedReads::Unspecified {
                bail!("register {name}: only one of kind seed has `reads`");
            }
            let overlaps = |other: &&Register| {
                other.offset < register.range().end && register.offset < other.range().end
            };
            if self.registers.iter().filter(overlaps).count() > 1 {
                bail!("register {name} at {offset:#x} overlaps another one");
            }
        }
        self.random_register()?;
        self.seed_register()?;
        for high in self.registers.iter().filter(|one| one.kind == RegisterKind::HighHalf) {
            self.low_half_of(high)?;
        }
        for ioctl in &self.ioctls {
            let Ioctl { name, number, size, registers, .. } = ioctl;
            for register in registers {
                self.register(register).with_context(|| format!("ioctl {name}"))?;
            }
            let encoded = usize::try_from(number >> 16 & 0x3fff).unwrap_or_default();
            if registers.is_empty() || !matches!(size, 4 | 8) || encoded != *size {
                bail!(
                    "ioctl {name}: a size of 4 or 8 that {number:#x} has in it ({encoded}), and at \
                     least one register are needed"
                );
            }
        }
        Ok(())
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

impl Register {
    /// Its bytes in the BAR.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.width
    }

    /// The bits that it has.
    #[must_use]
    pub fn bits(&self) -> u64 {
        bits(self.width)
    }

    /// The bits that it keeps, when it keeps a value.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.mask.unwrap_or(u64::MAX) & self.bits()
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (offset {:#x})", self.name, self.offset)
    }
}

/// All ones in so many bytes.
#[must_use]
pub fn bits(width: usize) -> u64 {
    if width >= 8 { u64::MAX } else { (1 << (8 * width)) - 1 }
}

#[cfg(test)]
mod tests;
