//! Checks that the coursework checker does: all of an application, a driver or a device.

use std::path::{Path, PathBuf};

use anyhow::Result;
use checker::report::{Report, Verdict};
use checker::stop::{Checked, Stop};
use checker::submission::Submission;

use super::Bench;

/// Step 5.
pub fn application(file: &Path, bench: &mut Bench<'_>) -> Checked {
    first_failure(&report(Submission::named(None, Some(file.to_owned()), None), bench)?)
}

/// Step 6.
pub fn driver(file: &Path, bench: &mut Bench<'_>) -> Checked {
    first_failure(&report(Submission::named(Some(PathBuf::from(file)), None, None), bench)?)
}

/// The device steps.
pub fn device(file: &Path, bench: &mut Bench<'_>) -> Checked {
    first_failure(&report(Submission::named(None, None, Some(file.to_owned())), bench)?)
}

fn report(submission: Result<Submission>, bench: &mut Bench<'_>) -> Result<Report> {
    // The checker's guests need the processors and the memory.
    bench.guests.end();
    checker::check::check(&submission?, bench.tools()?)
}

/// The first check that failed. The others may have failed because of it.
fn first_failure(report: &Report) -> Checked {
    let failed = report.entries.iter().find(|entry| !entry.verdict.is_fine());
    match failed.map(|entry| (&entry.title, entry.verdict.clone())) {
        None => Ok(()),
        Some((title, Verdict::Failed(mut failure))) => {
            failure.hint = format!("NOT so: {title}. {}", failure.hint);
            Err(failure.into())
        }
        Some((title, other)) => Err(Stop::failed(format!("{title}: {}", other.message()))),
    }
}
