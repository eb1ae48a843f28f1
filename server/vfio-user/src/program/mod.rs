//! A device as a program: command line, log, signals.
//!
//! [`main`] is the whole `main` of a program that serves one device. A program with options of its
//! own flattens [`Arguments`] into them, and does with [`Program`] what [`main`] does.

mod readiness;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args, Parser};
use log::LevelFilter;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::device::Device;
use crate::server::{Options, Server, ServerError};
use readiness::Readiness;

/// The options that every program with a device has.
// No group: it would be named like that of a program which flattens this.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Where to listen. The path is used exactly as given. A socket file that is left over there
    /// and that nobody serves is replaced; anything else is left alone and refused.
    #[arg(short, long, value_name = "PATH")]
    pub socket_path: PathBuf,

    /// Permissions of the socket file, in octal.
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = parse_mode)]
    pub socket_mode: u32,

    /// Write a newline to the open file descriptor N, and close it, once the socket listens. (The
    /// standard streams stay open.) A service of systemd is announced to it without this.
    #[arg(long, value_name = "N")]
    pub ready_fd: Option<u32>,

    /// After each message, ask for the next one again and again for N microseconds before going
    /// to sleep. Saves the wake-up, and keeps a processor busy.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub busy_poll_us: u64,

    /// Log connections (-v), each register access by name (-vv), each message (-vvv) to standard
    /// error.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Why a program cannot serve its device.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// `--ready-fd` names nothing that can be written to.
    #[error("--ready-fd {number}: no such open file descriptor; pass one, as in 3>&1")]
    ReadyFd {
        /// The number on the command line.
        number: u32,
        /// What the system says.
        source: io::Error,
    },
    /// Whoever waits for the newline has gone.
    #[error("--ready-fd: cannot write the newline")]
    Announce(#[source] io::Error),
    /// The handlers cannot be set up.
    #[error("cannot handle SIGINT and SIGTERM")]
    Signals(#[source] io::Error),
    /// The socket cannot be served.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// A program that is ready to serve a device.
#[derive(Debug)]
pub struct Program {
    arguments: Arguments,
    readiness: Readiness,
    stop: UnixStream,
}

impl Program {
    /// Starts the log and takes what the process was given. To be called first: the number of
    /// `--ready-fd` could otherwise be that of a descriptor which the process has opened itself.
    ///
    /// # Errors
    /// `--ready-fd` names no open descriptor, or signals cannot be handled.
    pub fn start(arguments: &Arguments) -> Result<Self, ProgramError> {
        start_log(arguments.verbose);
        let readiness = Readiness::new(arguments.ready_fd)?;
        // Before the socket exists, so that no signal can leave it behind.
        let stop = termination_signals().map_err(ProgramError::Signals)?;
        Ok(Self { arguments: arguments.clone(), readiness, stop })
    }

    /// Serves a device until SIGINT or SIGTERM. The socket file is removed in the end.
    ///
    /// # Errors
    /// The device's description is impossible, or the socket cannot be served.
    pub fn serve(self, device: impl Device + 'static) -> Result<(), ProgramError> {
        let options = Options {
            socket_mode: self.arguments.socket_mode,
            busy_poll: Duration::from_micros(self.arguments.busy_poll_us),
        };
        let server = Server::bind(&self.arguments.socket_path, device, options)?;
        log::info!("listening at {}", self.arguments.socket_path.display());
        self.readiness.announce()?;
        server.run(self.stop.as_fd())?;
        log::info!("stopped");
        Ok(())
    }
}

/// Serve a PCI device to a virtual machine over vfio-user.
#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    program: Arguments,
}

/// The `main` of a program that serves one device: takes the command line, and ends with the
/// process's exit status.
///
/// ```no_run
/// # use vfio_user_kit::{Access, Bar, Bus, Description, Device, Identity};
/// # #[derive(Default)]
/// # struct Nothing;
/// # impl Device for Nothing {
/// #     fn describe(&self) -> Description {
/// #         Description::new(Identity::new(0x1234, 0xc0de)).bar(0, Bar::memory32(4096))
/// #     }
/// #     fn read(&mut self, _: &mut Bus, _: Access) -> u64 { 0 }
/// #     fn write(&mut self, _: &mut Bus, _: Access, _: u64) {}
/// # }
/// fn main() -> std::process::ExitCode {
///     vfio_user_kit::main(Nothing::default())
/// }
/// ```
pub fn main(device: impl Device + 'static) -> ExitCode {
    let arguments = CommandLine::parse().program;
    exit_status(Program::start(&arguments).and_then(|program| program.serve(device)))
}

fn exit_status(result: Result<(), ProgramError>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    eprintln!("error: {message}");
    ExitCode::FAILURE
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

fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("an octal number from 0 to 777 is needed, such as 0660".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(parse_mode("0660"), Ok(0o660));
        assert!(parse_mode("1000").is_err());
        assert!(parse_mode("rw").is_err());
    }
}
