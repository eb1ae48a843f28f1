//! The devices: what a guest sees, without sockets.
//!
//! Each is one file that exports a [`Kind`]. To add one, write the file and name it here.

use std::sync::{Arc, OnceLock};

use vfio_user_kit::Device;

use crate::entropy::EntropyControl;
use crate::generator;
use crate::limiter::Limit;
use crate::meter::Meter;
use crate::source::{SourceError, Supplier};
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
    pub make: Make,
}

/// Makes a device of what was asked for and what is there.
pub type Make = fn(&Settings, &Surroundings) -> Result<Box<dyn Device>, MakeError>;

/// What the command line or the configuration file has for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which generator makes the numbers.
    pub generator: generator::Kind,
    /// What it is seeded with.
    pub seed: Option<u32>,
    /// Whether it goes on, and does not start anew, when the client goes.
    pub keep_state: bool,
    /// The virtio interface to show.
    pub interface: Interface,
    /// Whether to offer packed virtqueues.
    pub packed: bool,
    /// Whether a virtio device has MSI-X.
    pub msix: bool,
    /// How fast the guest may take random bytes.
    pub limit: Option<Limit>,
}

impl Default for Settings {
    /// What a device has when nothing is said.
    fn default() -> Self {
        Settings {
            generator: generator::Kind::Chacha20,
            seed: None,
            keep_state: false,
            interface: Interface::Modern,
            packed: false,
            msix: true,
            limit: None,
        }
    }
}

/// What the daemon has for a device.
#[derive(Clone)]
pub struct Surroundings {
    /// Where random bytes come from.
    pub source: Arc<dyn Supplier>,
    /// Who counts what the guest is given.
    pub meter: Arc<Meter>,
    /// What changes limit and source later, if the device has any. The first device that is made of
    /// these surroundings sets it, and others go on with the same source and limit.
    pub control: Arc<OnceLock<EntropyControl>>,
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
