//! Builds a kernel module or a program out of what was handed in, and does not check it: what the lab
//! runs for `--driver` and `--app`, so that both take the same.
//!
//! Prints one JSON document: where the module or the program is and what had to be added, or what is
//! wrong. The exit status is 0, or 1 for a fault of the sources and 2 when they could not be tried.

use std::path::PathBuf;
use std::process::ExitCode;

use checker::build::{self, Linking};
use checker::stop::Stop;
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

    /// Build a program, linked to the C library that a guest with tools has
    #[arg(long)]
    app: bool,
}

fn main() -> ExitCode {
    match build(&Options::parse()) {
        Ok(built) => print(&built, 0),
        Err(Stop::Verdict(verdict)) => {
            print(&json!({"said": verdict.details(), "hint": verdict.message()}), 1)
        }
        Err(Stop::Lab(error)) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn build(options: &Options) -> Result<Value, Stop> {
    let Options { source, work, app } = options;
    if *app {
        let program = build::app(source, work, Linking::Dynamic)?;
        return Ok(json!({"program": program, "notes": []}));
    }
    // The lab hands its environment on, and with it the choice of the kernel.
    let kernel = lab::environment::get()?.kernel(Choice::from_environment()?);
    let module = build::driver(source, work, kernel)?;
    Ok(json!({"module": module.file, "notes": module.notes}))
}

fn print(document: &Value, status: u8) -> ExitCode {
    println!("{document}");
    ExitCode::from(status)
}
