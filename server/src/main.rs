//! `my-rng-server`: serves one device on one socket until it is told to stop.
#![deny(missing_docs)]

mod cli;
mod ready;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::Context;
use log::LevelFilter;
use my_rng_server::devices;
use signal_hook::consts::{SIGINT, SIGTERM};
use vfio_user_kit::{Device, Options, Server};

use cli::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::of_this_process();
    start_log(arguments.verbose);
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("my-rng-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    // Before this process opens anything: the number could be that of a descriptor of its own.
    let ready = ready::Readiness::new(arguments.ready_fd)?;
    // Before the socket exists, so that no signal can leave it behind.
    let stop = termination_signals().context("cannot handle SIGINT and SIGTERM")?;
    let options = Options { socket_mode: arguments.socket_mode, busy_poll: arguments.busy_poll() };
    let server = Server::bind(&arguments.socket_path, device(arguments)?, options)?;
    log::info!("listening at {}", arguments.socket_path.display());
    ready.announce()?;
    server.run(stop.as_fd())?;
    log::info!("stopped");
    Ok(())
}

/// The device that the command line asks for.
fn device(arguments: &Arguments) -> anyhow::Result<Box<dyn Device>> {
    let kind = devices::find(&arguments.device).context("no such device")?;
    Ok((kind.make)(&arguments.settings()?)?)
}

/// A socket that becomes readable when the process is told to end.
fn termination_signals() -> io::Result<UnixStream> {
    let (stop, signalled) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, signalled.try_clone()?)?;
    }
    Ok(stop)
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .format_target(false)
        .format_timestamp_micros()
        .init();
}
