//! What all submissions are checked with, and who is told of each check.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use lab::Choice;
use lab::kernel::Kernel;

use crate::profile::Profile;
use crate::report::Entry;

/// What all submissions are checked with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The exercise.
    pub profile: Profile,
    /// The guest's kernel.
    pub kernel: Choice,
    /// The kernel that is booted for that choice.
    pub booted: &'static Kernel,
    /// The exerciser, for the guest.
    pub exerciser: PathBuf,
    /// The module that counts a device's interrupts, when the exercise has some, or DMA.
    pub test_module: Option<PathBuf>,
    /// The device for drivers and applications, when it is not my-rng-server.
    pub device: Option<PathBuf>,
    /// The driver for applications.
    pub driver: PathBuf,
    /// Is told of each check.
    pub listener: Listener,
    /// Where recordings are kept, if they are.
    pub recordings: Option<PathBuf>,
}

/// What is done with each check.
type Hear = dyn Fn(&Entry) + Send + Sync;

/// Is told of each check as soon as it has ended.
#[derive(Clone, Default)]
pub struct Listener(Option<Arc<Hear>>);

impl Listener {
    /// One that does something with each check.
    #[must_use]
    pub fn new(hear: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    /// Tells it of a check.
    pub fn hear(&self, entry: &Entry) {
        if let Some(hear) = &self.0 {
            hear(entry);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Listener" } else { "no Listener" })
    }
}
