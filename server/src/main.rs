//! `my-rng-server`: serves one device on one socket until it is told to stop, or looks at one.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod cli;
mod probe;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use my_rng_server::devices::{self, Surroundings};
use vfio_user_kit::Device;
use vfio_user_kit::program::Program;

use cli::{Arguments, Task};

fn main() -> ExitCode {
    let done = match Task::of_this_process() {
        Task::Serve(arguments) => serve(&arguments),
        Task::Probe(probe) => probe.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("my-rng-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let program = Program::start(&arguments.program)?;
    Ok(program.serve(device(arguments)?)?)
}

/// The device that the command line asks for.
fn device(arguments: &Arguments) -> anyhow::Result<Box<dyn Device>> {
    let kind = devices::find(&arguments.device).context("no such device")?;
    let source = Arc::new(arguments.source()?);
    let surroundings = Surroundings { source, meter: Arc::default() };
    Ok((kind.make)(&arguments.settings()?, &surroundings)?)
}
