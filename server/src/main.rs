//! `my-rng-server`: serves devices at sockets until it is told to stop, looks at one, or prepares a
//! libvirt domain for some.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod cli;
mod control_client;
mod daemon;
mod exchange;
#[cfg(feature = "generate")]
mod generate;
mod libvirt;
mod plan;
mod probe;
mod replay;
mod status;
mod stdout;
mod trace;

use std::process::ExitCode;

use my_rng_server::config::Configuration;
use my_rng_server::vhost_user;
use vfio_user_device::cli::Program;

use cli::{Arguments, Task};

fn main() -> ExitCode {
    #[cfg(feature = "generate")]
    if let Some(done) = generate::when_asked() {
        return done;
    }
    let done = match Task::of_this_process() {
        Task::Serve(arguments) => serve(&arguments),
        Task::Probe(probe) => probe.run(),
        Task::Status(status) => status.run(),
        Task::Exchange(exchange) => exchange.run(),
        Task::Libvirt(libvirt) => libvirt.run(),
        Task::Trace(trace) => trace.run(),
        Task::Replay(replay) => replay.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("my-rng-server: {}", daemon::with_remedy(&error));
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.print_capabilities {
        println!("{}", vhost_user::CAPABILITIES);
        return Ok(());
    }
    if let Some(file) = arguments.config.as_ref().filter(|_| arguments.check_config) {
        let Configuration { guests, .. } = Configuration::load(file)?;
        println!("{}: {} guests, nothing is wrong", file.display(), guests.len());
        return Ok(());
    }
    let mut program = Program::start(&arguments.program)?;
    let inherited = program.predecessor().map(|other| other.names().map(str::to_owned).collect());
    let inherited: Vec<String> = inherited.unwrap_or_default();
    let start = plan::start(arguments, program.take_sockets(), &inherited, program.recording())?;
    daemon::run(program, start)
}
