//! What a virtio-rng can be told.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use entropy::health::HealthMode;
use entropy::limiter::{Limit, MaxBytes, Period};
use entropy::source::{Specification, SpecificationError};
use serde::{Deserialize, Serialize};
use virtio_device::Interface;

use crate::devices::option_values::{is_default, number, one_of, text};

/// The options. Those that `my-rng-server libvirt` decides on are always in its file, and the
/// others only if they are not the default.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[command(next_help_heading = "Options of --device virtio-rng")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct VirtioRngOptions {
    /// The interface to show: modern, for drivers since Linux 4.0, or transitional, which has the
    /// legacy one in I/O ports, too, for older drivers.
    #[arg(long, value_name = "INTERFACE", default_value_t)]
    #[arg(value_parser = one_of(Interface::ALL, Interface::name))]
    #[serde(with = "text")]
    pub virtio: Interface,

    /// Offer a packed virtqueue, too, as QEMU's packed=on does.
    #[arg(long)]
    pub packed: bool,

    /// MSI-X vectors. With 0 there is no MSI-X and the device interrupts by its pin,
    /// which is slower; QEMU up to 11.1 ends when a vfio-user device with MSI-X is unplugged.
    #[arg(long, value_name = "N", default_value_t)]
    #[arg(value_parser = one_of(Vectors::ALL, Vectors::name))]
    #[serde(with = "number", skip_serializing_if = "is_default")]
    pub vectors: Vectors,

    /// Where the bytes come from: getrandom, file:PATH (a device, pipe or file),
    /// egd:unix:PATH, egd:tcp:HOST:PORT or egd:udp:HOST:PORT (an entropy gathering daemon; with
    /// ",listen" behind it, wait for it to connect; behind udp, ",local=HOST:PORT" is where
    /// requests come from), or, for tests, chacha20:SEED. What a source
    /// cannot give yet, the guest waits for.
    #[arg(long, value_name = "SOURCE", default_value_t)]
    #[serde(with = "text")]
    pub source: Specification,

    /// The same as --source file:PATH.
    #[arg(short = 'f', long, visible_alias = "rng-source", value_name = "PATH")]
    #[arg(conflicts_with = "source")]
    #[serde(skip)]
    pub filename: Option<PathBuf>,

    /// When a regular file that is the source ends, read it again from the start.
    /// Otherwise the guest waits for it to grow.
    #[arg(long)]
    #[serde(skip_serializing_if = "is_default")]
    pub file_loop: bool,

    /// Test whether the source's bytes can still be random (NIST SP 800-90B), and what to do when it
    /// fails: warn in the log, or stop, so that guests wait until it passes again. For hardware
    /// generators and entropy daemons.
    #[arg(long, value_name = "MODE", default_value_t)]
    #[arg(value_parser = one_of(HealthMode::ALL, HealthMode::name))]
    #[serde(with = "text", skip_serializing_if = "is_default")]
    pub health: HealthMode,

    /// Let the guest take at most N bytes in each period. Without it there is no limit.
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    #[serde(with = "number::optional", skip_serializing_if = "is_default")]
    pub max_bytes: Option<MaxBytes>,

    /// Length of a period in milliseconds.
    #[arg(short, long, value_name = "MS", default_value_t, allow_negative_numbers = true)]
    #[serde(with = "number", skip_serializing_if = "is_default")]
    pub period: Period,
}

impl VirtioRngOptions {
    /// The options that the VMM decides on with vhost-user.
    pub const OF_VMM: [&str; 3] = ["virtio", "packed", "vectors"];

    /// Where the bytes come from.
    ///
    /// # Errors
    /// Only a file can be read again from its start.
    pub fn specification(&self) -> Result<Specification, SpecificationError> {
        let source = match &self.filename {
            Some(path) => Specification::File { path: path.clone(), repeat: false },
            None => self.source.clone(),
        };
        let source = if self.file_loop { source.repeating()? } else { source };
        Ok(source.tested(self.health))
    }

    /// How fast the guest may take them.
    pub fn limit(&self) -> Option<Limit> {
        self.max_bytes.map(|max_bytes| Limit { max_bytes, period: self.period })
    }
}

/// How many MSI-X vectors a virtio-rng has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vectors {
    /// No MSI-X.
    Zero,
    /// One for the configuration, one for the queue.
    #[default]
    Two,
}

impl Vectors {
    /// All of them.
    pub const ALL: [Vectors; 2] = [Vectors::Zero, Vectors::Two];

    /// The number.
    pub const fn name(self) -> &'static str {
        match self {
            Vectors::Zero => "0",
            Vectors::Two => "2",
        }
    }
}

impl fmt::Display for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number of vectors that there cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; expected one of 0, 2")]
pub struct VectorsError(String);

impl FromStr for Vectors {
    type Err = VectorsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Vectors::ALL.into_iter().find(|vectors| vectors.name() == text);
        found.ok_or_else(|| VectorsError(text.into()))
    }
}
