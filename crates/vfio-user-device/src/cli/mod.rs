//! A device as a program: command line, log, signals.
//!
//! [`main`] is the whole `main` of a program that serves one device, [`main_with`] that of one whose
//! device has options. A program with more than one device flattens [`Arguments`] into its own options,
//! and does with [`Program`] what [`main`] does.

mod beginning;
mod descriptor_limit;
mod error;
mod exchange;
mod inherited_fds;
mod limited_logger;
mod ready_notifier;
mod record;
mod replay;
mod restart;
mod sandbox;
mod signals;
mod with_options;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args};
use log::LevelFilter;

use crate::causes::with_causes;
use crate::device::Device;
use crate::exchange::{Inherited, ProgramState};
use crate::recording::Recording;
use crate::sandbox::{Paths, SandboxMode};
use crate::server::{Options, Server, ServerSet, descriptors_remedy};
use beginning::Beginning;
/// The `clap` crate, so that a device in a single file can have options of its own.
pub use clap;
pub use error::ProgramError;
use inherited_fds::Passed;
pub use inherited_fds::PassedSocket;
pub use limited_logger::{LimitedLogger, OPERATOR};
use ready_notifier::ReadyNotifier;
pub use record::RecordArguments;
pub use replay::Action;
use restart::Restart;
use signals::EndSignals;
pub(crate) use signals::ignores_hang_up;
use with_options::NoOptions;
pub use with_options::main_with;

/// The options that every program with a device has.
// No group: it would be named like that of a program which flattens this.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Where to listen. The path is used exactly as given. A socket file there that no process
    /// listens on is replaced; any other file is an error.
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

    /// What the process cannot do once it serves: on ends it at a system call that it does not need,
    /// and lets it open only the files and folders that its options name; log lets it do everything,
    /// and the kernel's log names the system calls.
    #[arg(long, value_enum, value_name = "MODE")]
    pub sandbox: Option<SandboxMode>,

    /// A folder in which the sandbox lets the process do everything, such as one in which other
    /// sockets or programs will be. Can be given several times.
    #[arg(long, value_name = "PATH")]
    pub sandbox_folder: Vec<PathBuf>,

    /// Start the process that serves from another one, which starts it again if it crashes. Guests stay
    /// connected then.
    #[arg(long)]
    pub keeper: bool,

    /// Log connections (-v), each register access by name (-vv), each message (-vvv) to standard
    /// error.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// What to record, and where.
    #[command(flatten)]
    pub record: RecordArguments,
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

/// A program that is ready to serve a device, or many.
#[derive(Debug)]
pub struct Program {
    arguments: Arguments,
    readiness: ReadyNotifier,
    signals: EndSignals,
    /// What `--fd` names.
    inherited: Option<OwnedFd>,
    passed: Vec<PassedSocket>,
    /// What the process hands over whose place this one takes.
    predecessor: Option<Inherited>,
    restart: Restart,
    recording: Option<Recording>,
}

impl Program {
    /// Starts the log and the keeper, raises the limit of descriptors and takes inherited ones. Call it
    /// first: a descriptor that the process opens itself could get the number of `--ready-fd`.
    ///
    /// # Errors
    /// `--fd`, `--ready-fd` or LISTEN_FDS name no open descriptor or the wrong kind of one, or
    /// signals cannot be handled.
    pub fn start(arguments: &Arguments) -> Result<Self, ProgramError> {
        let Beginning { restart, mut inherited, predecessor } = Beginning::of(arguments)?;
        if let Some(predecessor) = predecessor.map_or_else(Inherited::receive, |it| Ok(Some(it)))? {
            return Program::in_place_of_another(arguments, predecessor, restart);
        }
        let Passed { sockets: passed, stored } = inherited.take_passed()?;
        // The sockets are its servers' already.
        if let Some(predecessor) = stored.and_then(exchange::take_from_store) {
            return Program::in_place_of_another(arguments, predecessor, restart);
        }
        let readiness = ReadyNotifier::new(arguments.ready_fd, &mut inherited)?;
        let socket =
            arguments.fd.map(|number| inherited.take_listener("--fd", number)).transpose()?;
        // Before the socket exists, so that no signal can leave it behind.
        let signals = EndSignals::new().map_err(ProgramError::Signals)?;
        Ok(Self {
            arguments: arguments.clone(),
            readiness,
            signals,
            inherited: socket,
            passed,
            predecessor: None,
            restart,
            recording: arguments.record.create()?,
        })
    }

    /// The socket of `--fd` and those that socket activation has passed, in the order of the unit
    /// file. The second call finds none. For programs that serve several.
    pub fn take_sockets(&mut self) -> Vec<PassedSocket> {
        let given = self.inherited.take().zip(self.arguments.fd);
        let given =
            given.map(|(socket, number)| PassedSocket { name: format!("fd {number}"), socket });
        given.into_iter().chain(std::mem::take(&mut self.passed)).collect()
    }

    /// A server for a device at the one socket that the options name, or that was passed.
    ///
    /// # Errors
    /// There is none, or more than one; the device's configuration is impossible, or the socket
    /// cannot be served.
    pub fn server(&mut self, device: impl Device + 'static) -> Result<Server, ProgramError> {
        let path = self.arguments.socket_path.as_deref();
        let options = self.arguments.options();
        if let Some(predecessor) = &mut self.predecessor {
            let name = predecessor.names().next().map(str::to_owned);
            let name = name.ok_or(ProgramError::NoSocket)?;
            let server = predecessor.server(&name, device, options);
            return Ok(server.ok_or(ProgramError::NoSocket)??);
        }
        let mut passed = std::mem::take(&mut self.passed);
        let named = usize::from(path.is_some()) + usize::from(self.inherited.is_some());
        if named + passed.len() > 1 {
            return Err(ProgramError::Sockets { passed: passed.len(), named });
        }
        if let Some(path) = path {
            let server = Server::bind(path, device, options)?;
            log::info!("listening at {}", path.display());
            return Ok(server);
        }
        let passed = passed.pop().map(|passed| passed.socket);
        let socket = self.inherited.take().or(passed).ok_or(ProgramError::NoSocket)?;
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
        self.enter_sandbox(SandboxMode::Off, Paths::system(), 1)?;
        let servers = ServerSet::new()?;
        let server = self.server(device)?;
        let server = self.recorded(server);
        let state = server.state();
        servers.add(server)?;
        self.run(&servers, || usize::from(state.stats().client.is_some()))
    }

    /// Says that the sockets listen and serves until the process is told to end, while other threads
    /// may add and remove servers. In the end all are removed. Before that, `connected` is asked how
    /// many clients there are: the log says what the end means for them. SIGUSR2 has another process
    /// take the servers over ([`exchange`](crate::exchange)).
    ///
    /// # Errors
    /// `--ready-fd` cannot be written to, the servers cannot be run, or
    /// [`ProgramError::HungUp`].
    pub fn run(
        self,
        servers: &ServerSet,
        connected: impl FnOnce() -> usize,
    ) -> Result<(), ProgramError> {
        self.run_with_state(servers, connected, || Ok(ProgramState::none()))
    }
}

/// The `main` of a program that serves one device: takes the command line, and ends with the
/// process's exit status.
///
/// ```no_run
/// # use vfio_user_device::{Access, Bar, Bus, DeviceConfig, Device, Identity};
/// # #[derive(Default)]
/// # struct Nothing;
/// # impl Device for Nothing {
/// #     fn config(&self) -> DeviceConfig {
/// #         DeviceConfig::new(Identity::new(0x1234, 0xc0de)).bar(0, Bar::memory32(4096))
/// #     }
/// #     fn read(&mut self, _: &mut Bus, _: Access) -> u64 { 0 }
/// #     fn write(&mut self, _: &mut Bus, _: Access, _: u64) {}
/// # }
/// fn main() -> std::process::ExitCode {
///     vfio_user_device::main(Nothing::default())
/// }
/// ```
pub fn main(device: impl Device + 'static) -> ExitCode {
    main_with(|NoOptions {}| Ok(device))
}

fn exit_status(result: Result<(), ProgramError>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let mut message = with_causes(&error);
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
    fn modes_are_octal() {
        assert_eq!(parse_mode("0660"), Ok(0o660));
        assert!(parse_mode("1000").is_err());
        assert!(parse_mode("rw").is_err());
    }
}
