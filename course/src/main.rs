//! `course`: what `scripts/course.sh` runs. Walks a student through the course.

mod commands;

use std::path::PathBuf;
use std::process::ExitCode;

use checker::handed_in::Part;
use clap::{Parser, Subcommand};
use course::step::Language;
use lab::interruption;

/// A course in device emulation and drivers, step by step
///
/// Each step has a page, a file to begin with, hints, and a check. Your files are in the folder
/// my-course, or in the one that you name with --folder once. What you have passed is remembered.
#[derive(Debug, Parser)]
#[command(
    name = "course.sh",
    after_help = "\
Begin with: ./scripts/course.sh next
STEP is a number or a name, as `list` shows them. Without it, the first step that is not passed
is meant.

Exit status of check: 0 passed, 1 not yet, 2 the check could not be done.

Environment: as for lab.sh. XDG_STATE_HOME says where your progress is kept
[default: ~/.local/state]."
)]
struct Options {
    /// Keep your files in this folder, from now on
    #[arg(long, value_name = "DIR", global = true)]
    folder: Option<PathBuf>,

    /// Write your devices in this language, from now on; steps for the other one are left out
    #[arg(long, value_enum, global = true)]
    language: Option<Language>,

    #[command(subcommand)]
    command: Command,
}

/// A word behind `course.sh`.
#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// All steps, and which of them are passed
    List,
    /// The page of the next step; puts the file to begin with into your folder
    Next,
    /// Checks a step whenever its file is saved, and goes on to the next one when it passes. Ctrl-C
    /// ends it
    Watch(Wanted),
    /// The next hint for a step
    Hint(Wanted),
    /// Checks a step
    Check(Wanted),
    /// Begins a step anew. Your file stays, as NAME.old
    Reset(Wanted),
    /// How far you are
    Progress,
    /// Packs the checker for a service that grades: `gradescope` makes an autograder.zip
    Pack {
        /// The service
        grader: Grader,

        /// What the exercise asks for [default: the published device]
        #[arg(long, value_name = "FILE")]
        profile: Option<PathBuf>,

        /// The parts that have to be handed in [default: the profile's]
        #[arg(long, value_enum, value_name = "PART,...", value_delimiter = ',')]
        require: Vec<Part>,

        /// The archive
        #[arg(long, value_name = "FILE", default_value = "autograder.zip")]
        output: PathBuf,
    },
    /// Fetches and builds everything now, so that the course needs no network later
    Prepare,
}

/// The step that a command is for.
#[derive(Debug, Clone, clap::Args)]
struct Wanted {
    /// The step
    step: Option<String>,
}

/// A service that grades.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Grader {
    /// Gradescope
    Gradescope,
}

/// The exit status when a check could not be done.
const COURSE_FAILED: u8 = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    match interruption::end_on_signals(|| ()).and_then(|()| commands::run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("course: {error:#}");
            ExitCode::from(COURSE_FAILED)
        }
    }
}
