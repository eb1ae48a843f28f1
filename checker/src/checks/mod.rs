//! The checks: what is tried, and what is said about it. Each check is a function of its own.

pub mod app;
pub mod device;
pub mod driver;
pub mod state;
pub mod stop;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use lab::kernel::Kernel;
use lab::{Choice, RunDir, Server};

use crate::guest::Attached;
use crate::profile::Profile;
use crate::report::{Entry, Verdict};
use stop::Checked;

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
    /// The device for drivers and applications, when it is not my-rng-server.
    pub device: Option<PathBuf>,
    /// The driver for applications.
    pub driver: PathBuf,
}

impl Tools {
    /// Starts the device for drivers and applications.
    pub fn attach<'run>(&self, run: &'run RunDir) -> Result<Attached<'run>> {
        let options = ["-vv"];
        let server = match &self.device {
            None => Server::start(run, "my-rng", &options)?,
            Some(program) => Server::start_program(run, "my-rng", program, &options)?,
        };
        Ok(Attached::Server(server))
    }
}

/// Takes down how each check ended.
#[derive(Debug)]
pub struct Recorder<'a> {
    profile: &'a Profile,
    entries: Vec<Entry>,
}

impl<'a> Recorder<'a> {
    /// With nothing in it yet.
    #[must_use]
    pub fn new(profile: &'a Profile) -> Self {
        Self { profile, entries: Vec::new() }
    }

    /// Takes down a check that has just ended.
    pub fn add(&mut self, id: &str, title: &str, verdict: Verdict, begun: Instant) {
        self.entries.push(Entry {
            id: id.to_owned(),
            title: title.to_owned(),
            verdict,
            worth: self.profile.points(id),
            took: begun.elapsed(),
        });
    }

    /// Takes down a check that could not be done because of a fault that another one was failed for:
    /// it neither brings nor costs points.
    pub fn add_for_nothing(&mut self, id: &str, title: &str, verdict: Verdict, begun: Instant) {
        self.add(id, title, verdict, begun);
        if let Some(entry) = self.entries.last_mut() {
            entry.worth = 0;
        }
    }

    /// Does a check that needs nothing, and takes it down; whether it passed.
    pub fn check<T>(
        &mut self,
        id: &str,
        title: &str,
        check: impl FnOnce() -> Result<T, stop::Stop>,
    ) -> Result<Option<T>> {
        let begun = Instant::now();
        match check() {
            Ok(value) => {
                self.add(id, title, Verdict::Passed, begun);
                Ok(Some(value))
            }
            Err(stop) => {
                self.add(id, title, stop.verdict()?, begun);
                Ok(None)
            }
        }
    }

    /// Takes down a check that there was no point in.
    pub fn not_run(&mut self, id: &str, title: &str, because: &str) {
        self.add(id, title, Verdict::NotRun(because.to_owned()), Instant::now());
    }

    /// All entries.
    #[must_use]
    pub fn finish(self) -> Vec<Entry> {
        self.entries
    }
}

/// The verdict of a check's result.
pub fn verdict(result: Checked) -> Result<Verdict> {
    result.map_or_else(stop::Stop::verdict, |()| Ok(Verdict::Passed))
}
