//! The devices: what a guest sees, without sockets.
//!
//! Each is one file that exports a [`Kind`]. To add one, write the file and name it here.

use vfio_user_kit::Device;

use crate::generator;
use crate::limiter::Limit;
use crate::source::{SourceError, Specification};
use crate::virtio::Interface;

pub mod my_rng;
pub mod virtio_rng;

/// The devices that there are.
pub const ALL: &[Kind] = &[my_rng::KIND, virtio_rng::KIND];

/// A kind of device: how it is asked for, and how one is made.
pub struct Kind {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// The options of the command line that it has a use for, by their fields' names.
    pub options: &'static [&'static str],
    /// Makes one.
    pub make: fn(&Settings) -> Result<Box<dyn Device>, MakeError>,
}

/// What the command line has for a device.
#[derive(Debug)]
pub struct Settings {
    /// Which generator makes the numbers.
    pub generator: generator::Kind,
    /// What it is seeded with.
    pub seed: Option<u32>,
    /// The virtio interface to show.
    pub interface: Interface,
    /// Whether to offer packed virtqueues.
    pub packed: bool,
    /// Whether a virtio device has MSI-X.
    pub msix: bool,
    /// Where random bytes come from.
    pub source: Specification,
    /// How fast the guest may take them.
    pub limit: Option<Limit>,
}

/// Why a device cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A generator has nothing to start from.
    #[error("no randomness from the operating system")]
    Generator(#[source] std::io::Error),
    /// There is no eventfd to be woken by.
    #[error("no eventfd for a waker")]
    Waker(#[source] std::io::Error),
    /// The source cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The kind with this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.name == name)
}
