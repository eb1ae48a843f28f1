//! Checks one submission, all its parts.

use std::time::Instant;

use anyhow::Result;
use lab::{Choice, RunDir, cargo_build, device_crate::DeviceCrate, module_build, world};

use crate::checks::{Tools, app, device, driver};
use crate::profile::Profile;
use crate::report::{Entry, Failure, Report, Verdict};
use crate::submission::{HandedIn, Part, Submission};

/// Makes everything that is the same for all submissions.
pub fn prepare(profile: Profile, kernel: Choice) -> Result<Tools> {
    let world = world::get()?;
    let booted = world.kernel(kernel);
    cargo_build::server()?;
    let device = match &profile.device.source {
        Some(source) => Some(DeviceCrate::open(source)?.build()?),
        None => None,
    };
    let driver = match &profile.app.driver {
        Some(source) => module_build::build_folder(source, booted)?.module,
        None => module_build::build(booted)?.module,
    };
    Ok(Tools { profile, kernel, booted, exerciser: cargo_build::exerciser()?, device, driver })
}

/// Builds and checks the parts of a submission. What is wrong with those is in the report; an error
/// is the lab's.
pub fn check(submission: &Submission, tools: &Tools) -> Result<Report> {
    let begun = Instant::now();
    let run = |part: &str| RunDir::create(&format!("check-{part}"));
    // What is built is removed by the next run of this name.
    let built = run("build")?;
    let work = built.path();
    let mut notes = Vec::new();
    let mut entries = Vec::new();
    for part in &submission.handed_in.missing {
        if tools.profile.hand_in.required.contains(part) {
            entries.push(missing(*part, &submission.handed_in, &tools.profile));
        }
    }
    if let Some(source) = &submission.driver {
        let run = run("driver")?;
        entries.extend(driver::check_driver(source, tools, &run, work, &mut notes)?);
    }
    if let Some(source) = &submission.app {
        entries.extend(app::check_app(source, tools, &run("app")?, work)?);
    }
    if let Some(source) = &submission.device {
        entries.extend(device::check_device(source, tools, &run("device")?, work, &mut notes)?);
    }
    Ok(Report {
        submission: submission.name.clone(),
        profile: tools.profile.name.clone(),
        kernel: tools.booted.release.clone(),
        handed_in: submission.handed_in.clone(),
        notes,
        entries,
        took: begun.elapsed(),
    })
}

/// The entry of a part that has to be handed in and is not there.
fn missing(part: Part, handed_in: &HandedIn, profile: &Profile) -> Entry {
    let failure = Failure::new(format!(
        "there is no {part} in what was handed in, and this exercise asks for one; what was passed \
         over is listed below"
    ));
    Entry {
        id: format!("{}-handed-in", part.id()),
        title: format!("the {part} is handed in"),
        verdict: Verdict::Failed(failure.with(handed_in.passed_over.join("\n"))),
        worth: profile.points_of(part),
        took: std::time::Duration::ZERO,
    }
}
