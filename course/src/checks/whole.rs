//! Checks that the coursework checker does: all of an application, a driver or a device.

use std::path::Path;

use checker::handed_in::Part;
use checker::report::{Report, Verdict};
use checker::stop::{Checked, Stop};
use checker::submission::Submission;

use super::Bench;

/// Checks a file as all of one part.
pub fn check(part: Part, file: &Path, bench: &mut Bench<'_>) -> Checked {
    let only = |one: Part| (one == part).then(|| file.to_owned());
    let submission = Submission::named(only(Part::Driver), only(Part::App), only(Part::Device))?;
    // The checker's guests need the processors and the memory.
    bench.guests.end();
    first_failure(&checker::check::check(&submission, bench.tools()?)?)
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
