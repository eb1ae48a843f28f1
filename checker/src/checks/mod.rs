//! The checks: what is tried, and what is said about it. Each check is a function of its own.

pub mod app;
pub mod device;
pub mod driver;
mod recorder;
pub mod state;
pub mod stop;

use std::path::PathBuf;

use anyhow::Result;
use lab::kernel::Kernel;
use lab::{Choice, RunDir, Server};

use crate::guest::Attached;
use crate::handed_in::PARTS;
use crate::profile::Profile;
use crate::recordings;
use crate::report::Verdict;
use stop::Checked;

pub use recorder::{Listener, Recorder};

/// The ids of all checks that a profile can give points for.
#[must_use]
pub fn ids(profile: &Profile) -> Vec<String> {
    let handed_in = PARTS.map(|part| format!("{}-handed-in", part.id()));
    let all = driver::ids(profile).into_iter().chain(app::ids()).chain(device::ids(profile));
    all.chain(handed_in).collect()
}

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

impl Tools {
    /// Starts the device for drivers and applications.
    pub fn attach<'run>(&self, run: &'run RunDir) -> Result<Attached<'run>> {
        let mut options = vec!["-vv"];
        options.extend(recordings::OPTIONS);
        let server = match &self.device {
            None => Server::start(run, "my-rng", &options)?,
            Some(program) => Server::start_program(run, "my-rng", program, &options)?,
        };
        Ok(Attached::Server(server))
    }
}

/// The verdict of a check's result.
pub fn verdict(result: Checked) -> Result<Verdict> {
    result.map_or_else(stop::Stop::verdict, |()| Ok(Verdict::Passed))
}
