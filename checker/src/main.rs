//! `check`: what `scripts/check.sh` runs. Checks submissions and writes reports.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use checker::profile::Profile;
use checker::report::{Report, junit, points, tap, text};
use checker::submission::{self, Submission};
use checker::{batch, check};
use clap::{Parser, ValueEnum};
use lab::{Choice, interruption, progress};

/// Check students' drivers, applications and devices
///
/// Builds what was handed in, tries it in a throw-away guest without a network, and says which
/// checks it passes, with a hint for each that it does not. A submission is a folder, an archive
/// (.zip, .tar.gz, .tar.xz) or a patch, in which the parts are found (the folder `driver`, `app.c`,
/// `device.rs` or the folder `device`, else by what is in the files), or the parts are named one by
/// one.
#[derive(Debug, Parser)]
#[command(
    name = "check.sh",
    after_help = "\
Exit status: 0 all checks passed, 1 a check failed, 2 the lab could not do its part.

Environment: as for lab.sh. Logs of the last run are in target/lab/run."
)]
struct Options {
    /// A submission: a folder, an archive or a patch
    #[arg(value_name = "FOLDER", conflicts_with_all = ["driver", "app", "device", "submissions"])]
    folder: Option<PathBuf>,

    /// A driver: a folder with a kernel module's sources, or a single C file
    #[arg(long, value_name = "DIR", conflicts_with = "submissions")]
    driver: Option<PathBuf>,

    /// An application: a C file
    #[arg(long, value_name = "FILE.c", conflicts_with = "submissions")]
    app: Option<PathBuf>,

    /// A device: a crate's folder, or a single Rust file
    #[arg(long, value_name = "CRATE", conflicts_with = "submissions")]
    device: Option<PathBuf>,

    /// A folder of submissions, each a folder, an archive or a patch in it
    #[arg(long, value_name = "DIR")]
    submissions: Option<PathBuf>,

    /// How many submissions at once; each runs a guest with two processors
    #[arg(long, value_name = "N", default_value_t = 1, requires = "submissions")]
    jobs: usize,

    /// Write the reports of all submissions to this folder
    #[arg(long, value_name = "DIR", requires = "submissions")]
    reports: Option<PathBuf>,

    /// What to expect [default: the published device]
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    /// The guest's kernel
    #[arg(long, value_enum, default_value_t = Kernel::V6_12)]
    kernel: Kernel,

    /// Write TAP to this file; - is standard output, instead of the readable text
    #[arg(long, value_name = "FILE", conflicts_with = "submissions")]
    tap: Option<PathBuf>,

    /// Write JUnit's XML to this file, or standard output
    #[arg(long, value_name = "FILE", conflicts_with = "submissions")]
    junit: Option<PathBuf>,

    /// Write the points as JSON to this file, or standard output
    #[arg(long, value_name = "FILE", conflicts_with = "submissions")]
    points: Option<PathBuf>,
}

/// The kernels to choose from.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kernel {
    /// Debian's stable one
    #[value(name = "6.12")]
    V6_12,
    /// The newest
    Newest,
}

impl From<Kernel> for Choice {
    fn from(kernel: Kernel) -> Self {
        match kernel {
            Kernel::V6_12 => Self::V6_12,
            Kernel::Newest => Self::Newest,
        }
    }
}

/// The exit status when the lab could not do its part.
const LAB_FAILED: u8 = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    match interruption::end_on_signals(|| ()).and_then(|()| run(&options)) {
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
    // What is wrong with the command line is said before anything is made.
    let profile = match &options.profile {
        Some(path) => Profile::read(path)?,
        None => Profile::published()?,
    };
    if let Some(folder) = &options.submissions {
        let folders = submission::all(folder)?;
        let tools = check::prepare(profile, options.kernel.into())?;
        let reports = options.reports.as_deref();
        let all = batch::check_all(&folders, options.jobs, &tools, reports)?;
        print!("{}", batch::summary(&all));
        let broken = all.iter().filter(|checked| checked.report.is_err()).count();
        anyhow::ensure!(broken == 0, "{broken} of {} submissions were not checked", all.len());
        return Ok(all.iter().flat_map(|checked| &checked.report).all(Report::is_fine));
    }
    let submission = match &options.folder {
        Some(folder) => Submission::find(folder)?.not_empty(folder)?,
        None => {
            Submission::named(options.driver.clone(), options.app.clone(), options.device.clone())?
        }
    };
    anyhow::ensure!(
        !submission.is_empty(),
        "nothing to check: name a submission's folder, or its parts with --driver, --app, --device"
    );
    let tools = check::prepare(profile, options.kernel.into())?;
    progress::say(&format!("checking {}", submission.name));
    let report = check::check(&submission, &tools)?;
    write(options, &report)?;
    Ok(report.is_fine())
}

/// Writes the report in all forms that were asked for.
fn write(options: &Options, report: &Report) -> Result<()> {
    let forms = [
        (&options.tap, tap::write(report)),
        (&options.junit, junit::write(report)?),
        (&options.points, points::write(report)),
    ];
    let is_output = |path: &Path| path == Path::new("-");
    if !forms.iter().any(|(path, _)| path.as_deref().is_some_and(is_output)) {
        print(&text::write(report))?;
    }
    for (path, contents) in &forms {
        match path.as_deref() {
            None => {}
            Some(path) if is_output(path) => print(contents)?,
            Some(path) => std::fs::write(path, contents)
                .with_context(|| format!("cannot write {}", path.display()))?,
        }
    }
    Ok(())
}

fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}
