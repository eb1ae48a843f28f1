//! Checks one submission, all its parts.

use std::time::Instant;

use anyhow::{Result, ensure};
use lab::sandbox::Protection;
use lab::{
    Choice, RunDir, cargo_build, device_crate::DeviceCrate, environment, module_build, progress,
};

use crate::build;
use crate::checks::{app, device, driver};
use crate::guest::{self, Kind};
use crate::handed_in::{HandedIn, PARTS, Part};
use crate::profile::Profile;
use crate::recordings;
use crate::report::{Entry, Failure, Report, Verdict};
use crate::submission::Submission;
use crate::tools::{Listener, Tools};

/// Makes everything that is the same for all submissions.
pub fn prepare(profile: Profile, kernel: Choice) -> Result<Tools> {
    let environment = environment::get()?;
    say_protection(Protection::here()?)?;
    let booted = environment.kernel(kernel);
    cargo_build::server()?;
    let source = profile.device.source.as_deref();
    let device = source.map(|source| DeviceCrate::open(source)?.build()).transpose()?;
    let driver = match &profile.app.driver {
        Some(source) => module_build::build_folder(source, booted)?.module,
        None => module_build::build(booted)?.module,
    };
    let exerciser = cargo_build::exerciser()?;
    let test_module = device::test_module::build(&profile, booted)?;
    Ok(Tools {
        profile,
        kernel,
        booted,
        exerciser,
        test_module,
        device,
        driver,
        listener: Listener::default(),
        recordings: None,
    })
}

/// Makes what the first check of each part would make: guests to go on from, and the device kit,
/// compiled for both languages.
pub fn warm(tools: &Tools) -> Result<()> {
    for kind in [Kind::WithDevice, Kind::WithoutDevice] {
        guest::saved(tools, kind)?;
    }
    build::warm()
}

/// The environment variable that allows submissions to be built without protection.
const UNPROTECTED: &str = "CHECK_UNPROTECTED";

/// Says what keeps submissions from this system where that is less than usual.
fn say_protection(protection: Protection) -> Result<()> {
    if protection != Protection::Namespaces {
        progress::say(&format!("a submission is built and run behind {protection}"));
    }
    let told = std::env::var_os(UNPROTECTED).is_some_and(|value| value == "1");
    ensure!(
        protection.keeps_files() || told,
        "this system has neither namespaces nor Landlock: a submission could read and change your \
         files. Run the checker as root, or on another system; {UNPROTECTED}=1 runs it all the same"
    );
    Ok(())
}

/// Builds and checks the parts of a submission. What is wrong with those is in the report; an error
/// is the lab's.
pub fn check(submission: &Submission, tools: &Tools) -> Result<Report> {
    let begun = Instant::now();
    let mut notes = Vec::new();
    let mut entries = not_handed_in(submission, &tools.profile);
    if submission.is_empty() && entries.is_empty() {
        entries.push(nothing(&submission.handed_in, &tools.profile));
    }
    entries.iter().for_each(|entry| tools.listener.hear(entry));
    entries.extend(check_parts(submission, tools, &mut notes)?);
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

fn check_parts(
    submission: &Submission,
    tools: &Tools,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>> {
    // What is built is removed by the next run of this name.
    let built = RunDir::create("check-build")?;
    let work = built.path();
    let kept = tools.recordings.as_ref();
    let kept = kept.map(|folder| folder.join(recordings::folder_of(&submission.name)));
    let mut entries = Vec::new();
    for (part, source) in submission.parts() {
        let run = RunDir::create(&format!("check-{}", part.id()))?;
        entries.extend(match part {
            Part::Driver => driver::check_driver(source, tools, &run, work, notes)?,
            Part::App => app::check_app(source, tools, &run, work)?,
            Part::Device => device::check_device(source, tools, &run, work, notes)?,
        });
        recordings::store(&run, kept.as_deref())?;
    }
    Ok(entries)
}

/// The entries of what has to be handed in and is not there.
fn not_handed_in(Submission { handed_in, .. }: &Submission, profile: &Profile) -> Vec<Entry> {
    let required = handed_in.missing.iter().filter(|part| profile.hand_in.required.contains(part));
    required.map(|part| missing(*part, handed_in, profile)).collect()
}

/// The entry of a submission in which there is nothing to check.
fn nothing(handed_in: &HandedIn, profile: &Profile) -> Entry {
    let failure = Failure::new(
        "nothing to check was handed in: the driver goes into a folder `driver`, the application \
         into `app.c`, and the device into `device.rs`, `device.c` or a folder `device`",
    );
    Entry {
        id: "handed-in".to_owned(),
        title: "something to check is handed in".to_owned(),
        verdict: Verdict::Failed(failure.with(handed_in.passed_over.join("\n"))),
        worth: PARTS.map(|part| profile.points_of(part)).into_iter().max().unwrap_or_default(),
        took: std::time::Duration::ZERO,
    }
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
