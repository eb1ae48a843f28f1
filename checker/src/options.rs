//! The command line of `check`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use checker::batch::Shard;
use checker::handed_in::Part;
use clap::Parser;
use lab::{Arch, Choice};

/// Check students' drivers, applications and devices
///
/// Builds each submission in a sandbox, tests it in a disposable guest without a network, and
/// reports a score per check, with a hint for each failure. A submission is a folder, an archive
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
pub struct Options {
    /// The guests' processors: those of this machine if not said. Others are emulated
    #[arg(long, value_enum, value_name = "ARCH")]
    pub arch: Option<Arch>,

    /// A submission: a folder, an archive or a patch
    #[arg(value_name = "FOLDER", conflicts_with_all = ["driver", "app", "device", "many"])]
    pub folder: Option<PathBuf>,

    /// A driver: a folder with a kernel module's sources, or a single C file
    #[arg(long, value_name = "DIR", conflicts_with = "many")]
    pub driver: Option<PathBuf>,

    /// An application: a C file
    #[arg(long, value_name = "FILE.c", conflicts_with = "many")]
    pub app: Option<PathBuf>,

    /// A device: a crate's folder, or a single Rust file
    #[arg(long, value_name = "CRATE", conflicts_with = "many")]
    pub device: Option<PathBuf>,

    /// A folder of submissions, each a folder, an archive, a patch or a source file in it
    #[arg(long, value_name = "DIR", group = "many")]
    pub submissions: Option<PathBuf>,

    /// Check the Kth of N parts of the folder alone, as one of several machines
    #[arg(long, value_name = "K/N", requires_all = ["submissions", "reports"], conflicts_with = "merge")]
    pub shard: Option<Shard>,

    /// Put the reports of all shards together: folders that runs with --reports have written
    #[arg(long, value_name = "REPORTS", num_args = 1.., group = "many")]
    pub merge: Vec<PathBuf>,

    /// How many submissions at once; each runs a guest with two processors
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        requires = "submissions",
        conflicts_with = "merge"
    )]
    pub jobs: NonZeroUsize,

    /// Write the reports of all submissions to this folder, and the tables summary.csv and
    /// summary.html
    #[arg(long, value_name = "DIR", requires = "many")]
    pub reports: Option<PathBuf>,

    /// Fill Moodle's grading worksheet in; the filled one is moodle.csv among the reports
    #[arg(long, value_name = "WORKSHEET.csv", requires = "reports")]
    pub moodle: Option<PathBuf>,

    /// Keep a recording of each check in DIR/NAME.recordings, with a timeline of each that failed; with
    /// --submissions they are among the reports
    #[arg(long, value_name = "DIR", conflicts_with = "many")]
    pub recordings: Option<PathBuf>,

    /// The parts that have to be there: a missing one is worth 0 points [default: the profile's]
    #[arg(long, value_enum, value_name = "PART,...", value_delimiter = ',')]
    pub require: Vec<Part>,

    /// What to expect [default: the published device]
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,

    /// The guest's kernel
    #[arg(long, value_enum, default_value_t)]
    pub kernel: Choice,

    /// Write TAP to this file; - is standard output, instead of the readable text
    #[arg(long, value_name = "FILE", conflicts_with = "many")]
    pub tap: Option<PathBuf>,

    /// Write JUnit's XML to this file, or standard output
    #[arg(long, value_name = "FILE", conflicts_with = "many")]
    pub junit: Option<PathBuf>,

    /// Write Gradescope's results.json to this file, also of a submission in which there is nothing
    #[arg(long, value_name = "FILE", conflicts_with = "many")]
    pub gradescope: Option<PathBuf>,

    /// Only make what all checks need, so that they need no network and take less time
    #[arg(long, conflicts_with_all = ["folder", "driver", "app", "device", "many"])]
    pub prepare: bool,

    /// Write the points as JSON to this file, or standard output
    #[arg(long, value_name = "FILE", conflicts_with = "many")]
    pub points: Option<PathBuf>,
}

impl Options {
    /// Whether standard output is for a program to read.
    pub fn prints_for_programs(&self) -> bool {
        let forms = [&self.tap, &self.junit, &self.points, &self.gradescope];
        forms.into_iter().flatten().any(|path| path == Path::new("-"))
    }
}
