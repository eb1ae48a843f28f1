//! The checks: what is tried, and what is said about it. Each check is a function of its own.

pub mod app;
pub mod device;
pub mod driver;
mod recorder;
pub mod state;

use anyhow::Result;

use crate::handed_in::PARTS;
use crate::profile::Profile;
use crate::report::Verdict;
use crate::stop::{Checked, Stop};

pub use recorder::Recorder;

/// The ids of all checks that a profile can give points for.
#[must_use]
pub fn ids(profile: &Profile) -> Vec<String> {
    let handed_in = PARTS.map(|part| format!("{}-handed-in", part.id()));
    let all = driver::ids(profile).into_iter().chain(app::ids()).chain(device::ids(profile));
    all.chain(handed_in).collect()
}

/// The verdict of a check's result.
pub fn verdict(result: Checked) -> Result<Verdict> {
    result.map_or_else(Stop::verdict, |()| Ok(Verdict::Passed))
}
