//! `check`: what `scripts/check.sh` runs. Checks submissions and writes reports.

mod options;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use checker::batch::{self, Checked, Shard};
use checker::profile::Profile;
use checker::report::{Report, gradescope, junit, points, tap, text};
use checker::submission::{self, Submission};
use checker::tools::{Listener, Tools};
use checker::{check, table, terminal};
use clap::Parser;
use lab::{Arch, files, interruption, progress};
use options::Options;

/// The exit status when the lab could not do its part.
const LAB_FAILED: u8 = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    let arch = Arch::choose(options.arch);
    let result = arch.and_then(|()| interruption::end_on_signals(|| ()));
    match result.and_then(|()| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("check: {error:#}");
            ExitCode::from(LAB_FAILED)
        }
    }
}

/// Whether all checks passed.
fn run(options: &Options) -> Result<bool> {
    if !options.merge.is_empty() {
        let worksheet = worksheet(options)?;
        let all = batch::merge(&options.merge, options.reports.as_deref())?;
        return finish(options, &all, worksheet.as_deref());
    }
    // What is wrong with the command line is said before anything is made.
    let profile = profile(options)?;
    if let Some(folder) = &options.submissions {
        return check_all(options, profile, folder);
    }
    if options.prepare {
        check::warm(&check::prepare(profile, options.kernel)?)?;
        return Ok(true);
    }
    check_one(options, profile, &submission(options)?)
}

fn profile(options: &Options) -> Result<Profile> {
    let mut profile = options.profile.as_deref().map_or_else(Profile::published, Profile::read)?;
    if !options.require.is_empty() {
        profile.hand_in.required.clone_from(&options.require);
    }
    Ok(profile)
}

fn check_all(options: &Options, profile: Profile, folder: &Path) -> Result<bool> {
    let worksheet = worksheet(options)?;
    let found = submission::all(folder)?;
    let mut tools = check::prepare(profile, options.kernel)?;
    tools.recordings.clone_from(&options.reports);
    let shard = options.shard.unwrap_or(Shard::WHOLE);
    let reports = options.reports.as_deref();
    let all = batch::check_all(&found, shard, options.jobs.get(), &tools, reports)?;
    finish(options, &all, worksheet.as_deref())
}

/// The only submission, of which something was handed in or named.
fn submission(options: &Options) -> Result<Submission> {
    let submission = match &options.folder {
        // It has a score, whatever is in it.
        Some(folder) if options.gradescope.is_some() => Submission::find(folder)?,
        Some(folder) => {
            submission::ensure_one(folder)?;
            Submission::find(folder)?.not_empty(folder)?
        }
        None => {
            Submission::named(options.driver.clone(), options.app.clone(), options.device.clone())?
        }
    };
    anyhow::ensure!(
        !submission.is_empty() || options.folder.is_some(),
        "nothing to check: name a submission's folder, or its parts with --driver, --app, --device"
    );
    Ok(submission)
}

fn check_one(options: &Options, profile: Profile, submission: &Submission) -> Result<bool> {
    let mut tools = check::prepare(profile, options.kernel)?;
    tools.recordings.clone_from(&options.recordings);
    let shown = !options.prints_for_programs();
    if shown {
        let Tools { profile, booted, .. } = &tools;
        terminal::print(&text::head(&submission.name, &profile.name, &booted.release));
        // As soon as it is known: all of them take half a minute.
        tools.listener =
            Listener::new(|entry| terminal::print(&text::entry(entry, terminal::output_width())));
    }
    let report = check::check(submission, &tools)?;
    if shown {
        terminal::print(&text::tail(&report, terminal::output_width()));
    }
    write(options, &report)?;
    Ok(report.is_fine())
}

/// The text of Moodle's worksheet, if there is one to fill in.
fn worksheet(options: &Options) -> Result<Option<String>> {
    options.moodle.as_deref().map(files::read_text).transpose()
}

/// Shows and writes the tables of many submissions; whether all passed.
fn finish(options: &Options, all: &[Checked], worksheet: Option<&str>) -> Result<bool> {
    if let Some(reports) = &options.reports {
        table::write(reports, all)?;
        if let Some(worksheet) = worksheet {
            let filled = table::fill_moodle(worksheet, all)?;
            for reason in &filled.without_row {
                progress::say(&format!("not in Moodle's worksheet: {reason}"));
            }
            files::write(reports.join("moodle.csv"), &filled.worksheet)?;
        }
    }
    print(&table::text(all))?;
    let broken = all.iter().filter(|checked| checked.report.is_err()).count();
    anyhow::ensure!(broken == 0, "{broken} of {} submissions were not checked", all.len());
    Ok(all.iter().flat_map(|checked| &checked.report).all(Report::is_fine))
}

/// Writes the report in all forms for programs that were asked for.
fn write(options: &Options, report: &Report) -> Result<()> {
    let forms = [
        (&options.tap, tap::write(report)),
        (&options.junit, junit::write(report)?),
        (&options.points, points::write(report)),
        (&options.gradescope, gradescope::write(report)),
    ];
    for (path, contents) in &forms {
        match path.as_deref() {
            None => {}
            Some(path) if path == Path::new("-") => print(contents)?,
            Some(path) => files::write(path, contents)?,
        }
    }
    Ok(())
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}
