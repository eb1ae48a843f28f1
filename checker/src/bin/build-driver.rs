//! Builds a kernel module out of what was handed in, and does not check it: what the lab runs for
//! `--driver`, so that both take the same.
//!
//! Prints one JSON document: where the module is and what had to be added, or what is wrong. The
//! exit status is 0, or 1 for a fault of the sources and 2 when they could not be tried.

use std::path::PathBuf;
use std::process::ExitCode;

use checker::build::{self, Failure, Module};
use clap::Parser;
use lab::Choice;
use serde_json::{Value, json};

/// Build a kernel module as the checker does, for the lab's kernel
#[derive(Debug, Parser)]
struct Options {
    /// What was handed in: a folder or a file
    source: PathBuf,

    /// An empty folder for the build
    #[arg(long, value_name = "FOLDER")]
    work: PathBuf,
}

fn main() -> ExitCode {
    match build(&Options::parse()) {
        Ok(module) => print(&json!({"module": module.file, "notes": module.notes}), 0),
        Err(Failure::Submission { said, hint }) => print(&json!({"said": said, "hint": hint}), 1),
        Err(Failure::Lab(error)) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn build(options: &Options) -> Result<Module, Failure> {
    // The lab hands its environment on, and with it the choice of the kernel.
    let kernel = lab::world::get()?.kernel(Choice::from_environment()?);
    build::driver(&options.source, &options.work, kernel)
}

fn print(document: &Value, status: u8) -> ExitCode {
    println!("{document}");
    ExitCode::from(status)
}
