//! The checks of the steps. Each says what is wrong in one sentence, and what to look at.

mod answers;
mod device;
mod driver;
mod loaded;
mod program;
mod rust;
mod whole;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use checker::access_log::{Kind, Named};
use checker::handed_in::Part;
use checker::profile::Profile;
use checker::report::Verdict;
use checker::stop::{Checked, Stop};
use checker::tools::Tools;
use lab::Choice;
use tempfile::TempDir;

use crate::guests::Guests;
use crate::step::{Check, Step};

/// What checks need.
#[derive(Debug)]
pub struct Bench<'run> {
    /// The guest.
    pub guests: Guests<'run>,
    profile: Profile,
    /// The checker's tools, made when the first step wants them.
    tools: Option<Tools>,
}

impl<'run> Bench<'run> {
    /// Without a guest yet.
    pub fn new(guests: Guests<'run>) -> Result<Self> {
        Ok(Self { guests, profile: Profile::published()?, tools: None })
    }

    /// What the checker's own checks need.
    fn tools(&mut self) -> Result<&Tools> {
        if self.tools.is_none() {
            let profile = self.profile.clone();
            self.tools = Some(checker::check::prepare(profile, Choice::default())?);
        }
        self.tools.as_ref().context("they were made")
    }

    /// Fetches and builds everything that checks need, so that they need no network later.
    pub fn prepare(&mut self) -> Result<()> {
        self.tools()?;
        lab::device_crate::DeviceCrate::open(&crate::guests::interrupting())?.build()?;
        lab::module_build::build_folder(&device::counter(), self.tools()?.booted)?;
        Ok(())
    }

    /// An empty folder for a build.
    fn work(&self) -> Result<TempDir> {
        tempfile::tempdir_in(self.guests.folder()).context("cannot make a temporary folder")
    }
}

/// Checks the files of a step that are in a folder.
pub fn check(step: &Step, folder: &Path, bench: &mut Bench<'_>) -> Result<Verdict> {
    for file in &step.files {
        ensure!(
            folder.join(file).is_file(),
            "there is no {}: `course.sh next` puts the file to begin with there",
            folder.join(file).display()
        );
    }
    let file = folder.join(step.files.first().context("a step has a file")?);
    checked(step.check, &file, bench).map_or_else(Stop::verdict, |()| Ok(Verdict::Passed))
}

/// The values that reads of a register gave.
fn values(accesses: &[Named], register: &str) -> Vec<u64> {
    let reads = accesses.iter().filter(|one| one.kind == Kind::Read && one.place == register);
    reads.map(|one| one.value).collect()
}

fn checked(check: Check, file: &Path, bench: &mut Bench<'_>) -> Checked {
    match check {
        Check::Answers => answers::check(file, bench),
        Check::ReadRandom => program::read_random(file, bench),
        Check::Seed => program::seed(file, bench),
        Check::AccessSizes => program::access_sizes(file, bench),
        Check::Application => whole::check(Part::App, file, bench),
        Check::Driver => {
            driver::finds_its_device(file, bench)?;
            whole::check(Part::Driver, file, bench)
        }
        Check::Read => driver::read(file, bench),
        Check::Interrupt => driver::interrupt(file, bench),
        Check::Dma => driver::dma(file, bench),
        Check::Unplug => driver::unplug(file, bench),
        Check::Device => whole::check(Part::Device, file, bench),
        Check::MsixDevice => {
            device::interrupts_by_msix(file, bench)?;
            whole::check(Part::Device, file, bench)
        }
        Check::RustBasics => rust::check(file, bench),
    }
}
