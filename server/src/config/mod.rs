//! The configuration file: which guests there are, and how they share what is scarce.
//!
//! ```toml
//! control-socket = "/run/my-rng-server/control.sock"
//! status-file = "/var/lib/my-rng-server/classes.json"
//!
//! [[source]]                  # shared by the guests that name it
//! name = "hwrng"
//! source = "file:/dev/hwrng"
//! bandwidth = { average = 64 }
//!
//! [[group]]
//! name = "tenants"
//! parent = "hwrng"
//! bandwidth = { average = 32, peak = 64, floor = 24 }
//!
//! [[guest]]
//! name = "web1"
//! socket = "/run/my-rng-server/web1.sock"
//! device = "virtio-rng"
//! source = "tenants"
//! bandwidth = { average = 8, peak = 64, floor = 8 }
//! ```
//!
//! The keys of a guest are the long options of the command line. A bare number of a `bandwidth` is
//! in KiB, or KiB in a second, as it is in libvirt's `<bandwidth>`.
//!
//! [`Configuration::load`] reads a file and says everything that is wrong with it, each with its
//! line. What it returns is possible; whether sockets can be bound and sources opened is another
//! matter.

mod amount;
mod check;
mod classes;
mod file;
mod guest;
mod known_names;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::devices::DeviceOptions;
use entropy::bandwidth::Bandwidth;
use entropy::limiter::Limit;
use entropy::source::Specification;

/// Which clients attach to a guest's socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// `-device vfio-user-pci` of QEMU 10.1 or newer.
    #[default]
    VfioUser,
    /// `-device vhost-user-rng-pci` of any QEMU, and other virtual machine monitors.
    VhostUser,
}

/// Not the name of a transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}; expected one of vfio-user, vhost-user")]
pub struct TransportError(String);

impl FromStr for Transport {
    type Err = TransportError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        clap::ValueEnum::from_str(text, false).map_err(|_| TransportError(text.into()))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::VfioUser => "vfio-user",
            Transport::VhostUser => "vhost-user",
        })
    }
}

/// A source that guests share, the root of a tree of classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSource {
    /// By what groups and guests ask for it.
    pub name: String,
    /// Where the bytes come from.
    pub source: Specification,
    /// `average` is how much the source can give.
    pub bandwidth: Bandwidth,
    /// Whether the floors of its guests may add up to more than there is: a guest that connects too late is rejected.
    pub overcommit: bool,
}

/// A class between a source and guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// By what other groups and guests ask for it.
    pub name: String,
    /// A shared source, or another group.
    pub parent: String,
    /// What it shares among its children.
    pub bandwidth: Bandwidth,
    /// Whether the floors of its guests may be more than its own.
    pub overcommit: bool,
}

/// Where a guest's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestSource {
    /// A source of its own.
    Own(Specification),
    /// A part of a shared one.
    Shared {
        /// The shared source, or a group.
        parent: String,
        /// The guest's part.
        bandwidth: Bandwidth,
    },
}

/// A guest: a socket and the device that is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// What it is called in the log and by `status`.
    pub name: String,
    /// Where to listen.
    pub socket: PathBuf,
    /// Permissions of the socket file.
    pub socket_mode: u32,
    /// Which clients can attach.
    pub transport: Transport,
    /// Which device it has, and what the device is told.
    pub device: DeviceOptions,
    /// Where its bytes come from.
    pub source: GuestSource,
    /// Whether a reload may disconnect it for a change that cannot be made while it is connected.
    pub disconnect: bool,
}

impl Guest {
    /// The keys that differ in another one of the same name and cannot change while the guest is
    /// connected. Its limit, source, bandwidth and socket-mode can.
    pub fn fixed_keys_that_differ(&self, after: &Guest) -> Vec<String> {
        let own = [
            ("socket", self.socket != after.socket),
            ("transport", self.transport != after.transport),
        ];
        let own = own.into_iter().filter_map(|(key, differs)| differs.then_some(key.to_owned()));
        own.chain(self.device.fixed_keys_that_differ(&after.device)).collect()
    }

    /// How fast it may take random bytes, if its device has a limit.
    pub fn limit(&self) -> Option<Limit> {
        match &self.device {
            DeviceOptions::VirtioRng(options) => options.limit(),
            DeviceOptions::MyRng(_) => None,
        }
    }

    /// Where its bytes come from, for people.
    pub fn source_name(&self) -> String {
        match &self.source {
            GuestSource::Own(_) if matches!(self.device, DeviceOptions::MyRng(_)) => "-".into(),
            GuestSource::Own(source) => source.to_string(),
            GuestSource::Shared { parent, .. } => parent.clone(),
        }
    }
}

/// What the daemon is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Where `status` asks.
    pub control_socket: Option<PathBuf>,
    /// Where class identifiers are kept over a restart.
    pub status_file: Option<PathBuf>,
    /// Where the states of devices are kept from the planned end of a daemon to its next start.
    pub state_file: Option<PathBuf>,
    /// Shared sources; their names and those of the groups differ.
    pub sources: Vec<SharedSource>,
    /// Groups, each behind its parent if that is a group too.
    pub groups: Vec<Group>,
    /// Guests; their names and sockets differ.
    pub guests: Vec<Guest>,
}

impl Configuration {
    /// The same, with devices that go on where they are for the next client if there is a state file: as
    /// they do for the next daemon.
    #[must_use]
    pub fn with_states_kept(mut self) -> Self {
        if self.state_file.is_some() {
            self.guests.iter_mut().for_each(|guest| guest.device.keep_state());
        }
        self
    }
}

/// Something that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which line of the file, counted from 1.
    pub line: usize,
    /// What it is, and what would be right.
    pub reason: String,
}

/// An invalid configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is wrong.
    #[error("{}", lines(path, problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, in the order of the lines.
        problems: Vec<Problem>,
    },
}

/// A line for each problem.
fn lines(path: &Path, problems: &[Problem]) -> String {
    let line =
        |problem: &Problem| format!("{}:{}: {}", path.display(), problem.line, problem.reason);
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Configuration {
    /// The name of the shared source that a class of this name is of: its own name if it is one.
    pub fn source_of(&self, class: &str) -> Option<&str> {
        let mut class = class;
        // Each step goes to a group that stands before.
        for group in self.groups.iter().rev() {
            if group.name == class {
                class = &group.parent;
            }
        }
        let source = self.sources.iter().find(|source| source.name == class);
        source.map(|source| source.name.as_str())
    }

    /// The classes in which the floors of guests may be more than their own.
    fn overcommitted(&self) -> HashSet<&str> {
        let sources = self.sources.iter().map(|source| (&source.name, source.overcommit));
        let groups = self.groups.iter().map(|group| (&group.name, group.overcommit));
        let all = sources.chain(groups);
        all.filter(|(_, overcommit)| *overcommit).map(|(name, _)| name.as_str()).collect()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or it is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigurationError::Read { path: path.into(), source })?;
        Self::parse(&text)
            .map_err(|problems| ConfigurationError::Wrong { path: path.into(), problems })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong, at least one thing. After a syntax error nothing else is looked
    /// at.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let ends: Vec<usize> = text.match_indices('\n').map(|(end, _)| end).collect();
        let line_of = |offset: usize| 1 + ends.partition_point(|end| *end < offset);
        let (file, guests) = file::parse(text)
            .map_err(|error| vec![Problem { line: line_of(error.offset), reason: error.reason }])?;
        check::configuration(file, guests, line_of)
    }
}
