//! A device as a program: command line, log, signals.
//!
//! [`main`] is the whole `main` of a program that serves one device. A program with options of its
//! own flattens [`Arguments`] into them, and does with [`Program`] what [`main`] does.

mod given;
mod limits;
mod readiness;
mod signals;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser};
use log::LevelFilter;

use crate::descriptors::descriptors_remedy;
use crate::device::Device;
use crate::log_limiter::LimitedLogger;
use crate::server::{Options, Server, ServerError, Servers};
use given::Given;
pub use given::PassedSocket;
use readiness::Readiness;
use signals::EndSignals;

/// The options that every program with a device has.
// No group: it would be named like that of a program which flattens this.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Where to listen. The path is used exactly as given. A socket file that is left over there
    /// and that nobody serves is replaced; anything else is left alone and refused.
    #[arg(short, long, value_name = "PATH")]
    pub socket_path: Option<PathBuf>,

    /// Serve at the listening unix stream socket that is open as descriptor N, instead of making
    /// one. Without either option, a socket is taken that systemd's socket activation passes
    /// (LISTEN_FDS).
    #[arg(long, value_name = "N", conflicts_with_all = ["socket_path", "socket_mode"])]
    pub fd: Option<u32>,

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

impl Arguments {
    /// Checks what clap cannot know: that there is a socket. A program that flattens these options
    /// and always serves one device calls it after parsing; [`main`] does.
    ///
    /// # Errors
    /// An error of `command` that names the options.
    pub fn check(&self, command: &mut clap::Command) -> Result<(), clap::Error> {
        let passed = std::env::var_os("LISTEN_FDS").is_some();
        if self.socket_path.is_some() || self.fd.is_some() || passed {
            return Ok(());
        }
        Err(command.error(ErrorKind::MissingRequiredArgument, ProgramError::NoSocket))
    }

    /// How to serve, as far as these options say.
    pub fn options(&self) -> Options {
        Options {
            socket_mode: self.socket_mode,
            busy_poll: Duration::from_micros(self.busy_poll_us),
        }
    }
}

/// Why a program cannot serve its device.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// An option, or LISTEN_FDS, names a descriptor that is not there.
    #[error("{option} {number}: no such open file descriptor; pass one, as in {number}>&1")]
    Descriptor {
        /// The option.
        option: &'static str,
        /// The number.
        number: u32,
        /// What the system says.
        source: io::Error,
    },
    /// A descriptor to listen on is something else.
    #[error("{option} {number} is {what}; a listening unix stream socket is needed")]
    NotListening {
        /// The option.
        option: &'static str,
        /// The number.
        number: u32,
        /// What it is.
        what: String,
    },
    /// The same descriptor for two purposes.
    #[error("descriptor {0} has two uses; --fd, --ready-fd and LISTEN_FDS need one each")]
    Twice(u32),
    /// The variables of socket activation are not what they should be.
    #[error("LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES do not tell which sockets were passed")]
    ListenFds(#[source] io::Error),
    /// No socket to serve at.
    #[error("where to listen? --socket-path PATH or --fd N is needed, or one socket in LISTEN_FDS")]
    NoSocket,
    /// More sockets than one.
    #[error(
        "{passed} in LISTEN_FDS besides --socket-path and --fd, which name {named}: one socket is \
         served"
    )]
    Sockets {
        /// Sockets in LISTEN_FDS.
        passed: usize,
        /// Sockets on the command line.
        named: usize,
    },
    /// Whoever waits for the newline has gone.
    #[error("--ready-fd: cannot write the newline")]
    Announce(#[source] io::Error),
    /// The handlers cannot be set up.
    #[error("cannot handle SIGINT, SIGTERM and SIGHUP")]
    Signals(#[source] io::Error),
    /// The program was served until its end, which SIGHUP was.
    #[error(
        "ended by SIGHUP, as when a terminal is closed (nohup or systemd keep a server running)"
    )]
    HungUp,
    /// The socket cannot be served.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// A program that is ready to serve a device, or many.
#[derive(Debug)]
pub struct Program {
    arguments: Arguments,
    readiness: Readiness,
    signals: EndSignals,
    /// What `--fd` names.
    given: Option<OwnedFd>,
    passed: Vec<PassedSocket>,
}

impl Program {
    /// Starts the log, raises the limit of descriptors and takes what the process was given. To be called first: the number of
    /// `--ready-fd` could otherwise be that of a descriptor which the process has opened itself.
    ///
    /// # Errors
    /// `--fd`, `--ready-fd` or LISTEN_FDS name no open descriptor or the wrong kind of one, or
    /// signals cannot be handled.
    pub fn start(arguments: &Arguments) -> Result<Self, ProgramError> {
        start_log(arguments.verbose);
        limits::raise_descriptor_limit();
        let mut given = Given::default();
        let passed = given.take_passed()?;
        let readiness = Readiness::new(arguments.ready_fd, &mut given)?;
        let socket = arguments.fd.map(|number| given.take_listener("--fd", number)).transpose()?;
        // Before the socket exists, so that no signal can leave it behind.
        let signals = EndSignals::new().map_err(ProgramError::Signals)?;
        Ok(Self { arguments: arguments.clone(), readiness, signals, given: socket, passed })
    }

    /// The socket of `--fd` and those that socket activation has passed, in the order of the unit
    /// file. The second call finds none. For programs that serve several.
    pub fn take_sockets(&mut self) -> Vec<PassedSocket> {
        let given = self.given.take().zip(self.arguments.fd);
        let given =
            given.map(|(socket, number)| PassedSocket { name: format!("fd {number}"), socket });
        given.into_iter().chain(std::mem::take(&mut self.passed)).collect()
    }

    /// A server for a device at the one socket that the options name, or that was passed.
    ///
    /// # Errors
    /// There is none, or more than one; the device's description is impossible, or the socket
    /// cannot be served.
    pub fn server(&mut self, device: impl Device + 'static) -> Result<Server, ProgramError> {
        let path = self.arguments.socket_path.as_deref();
        let options = self.arguments.options();
        let mut passed = std::mem::take(&mut self.passed);
        let named = usize::from(path.is_some()) + usize::from(self.given.is_some());
        if named + passed.len() > 1 {
            return Err(ProgramError::Sockets { passed: passed.len(), named });
        }
        if let Some(path) = path {
            let server = Server::bind(path, device, options)?;
            log::info!("listening at {}", path.display());
            return Ok(server);
        }
        let passed = passed.pop().map(|passed| passed.socket);
        let socket = self.given.take().or(passed).ok_or(ProgramError::NoSocket)?;
        Ok(Server::from_listener(socket, device, options)?)
    }

    /// Lets SIGHUP end the program like SIGTERM, but with [`ProgramError::HungUp`]. Not for a program
    /// that reads its configuration again then.
    ///
    /// # Errors
    /// The handler cannot be set up.
    pub fn end_on_hang_up(&self) -> Result<(), ProgramError> {
        self.signals.hear_hang_up().map_err(ProgramError::Signals)
    }

    /// Serves a device until SIGINT, SIGTERM or SIGHUP. The socket file is removed in the end.
    ///
    /// # Errors
    /// As [`Program::server`] and [`Program::run`].
    pub fn serve(mut self, device: impl Device + 'static) -> Result<(), ProgramError> {
        self.end_on_hang_up()?;
        let servers = Servers::new()?;
        let server = self.server(device)?;
        let watch = server.watch();
        servers.add(server)?;
        self.run(&servers, || usize::from(watch.status().client.is_some()))
    }

    /// Says that the sockets listen and serves until the process is told to end, while other threads
    /// may add and remove servers. In the end all are removed. Before that, `connected` is asked how
    /// many clients there are: the log says what the end means for them.
    ///
    /// # Errors
    /// Whoever waits for `--ready-fd` has gone, the servers cannot be run, or
    /// [`ProgramError::HungUp`].
    pub fn run(
        self,
        servers: &Servers,
        connected: impl FnOnce() -> usize,
    ) -> Result<(), ProgramError> {
        self.readiness.announce()?;
        servers.run_and_then(self.signals.as_fd(), || warn_of_end(connected()))?;
        log::info!("stopped");
        if self.signals.hung_up() {
            return Err(ProgramError::HungUp);
        }
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
    arguments.check(&mut CommandLine::command()).unwrap_or_else(|error| error.exit());
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
    if let Some(remedy) = descriptors_remedy(&error) {
        message.push_str(&format!("; {remedy}"));
    }
    eprintln!("error: {message}");
    ExitCode::FAILURE
}

/// Says what the end of the program means for clients that are connected.
fn warn_of_end(connected: usize) {
    if connected > 0 {
        log::warn!(
            "ending with {connected} connected: their guests lose the device, and QEMU ends when one \
             of them is reset or rebooted; a guest whose driver still has the device can hang. Next \
             time detach the device, or unload its driver, before the server ends"
        );
    }
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let logger = env_logger::Builder::new()
        .filter_level(level)
        .format_target(false)
        .format_timestamp_micros()
        .build();
    let level = logger.filter();
    match log::set_boxed_logger(Box::new(LimitedLogger::new(logger))) {
        Ok(()) => log::set_max_level(level),
        // A program that embeds this one's main has a logger of its own.
        Err(_) => log::debug!("the program's own logger is used"),
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("an octal number from 0 to 777 is needed, such as 0660".into()),
    }
}

#[cfg(test)]
mod tests {
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
