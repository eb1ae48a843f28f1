//! Exchange: another process takes over the servers of this one, while their clients stay connected.
//!
//! The running process starts the new one, which takes the same options and makes the same devices.
//! When it has started, the sessions of the old one rest between two messages, and everything goes
//! over a socket pair: listening sockets, connections, guest memory and eventfds as descriptors, and
//! a document with the rest. The old process ends only after the new one has said that it is ready;
//! if it does not, the sessions go on in the old one, and the log says why.
//!
//! ```text
//!   old process                               new process
//!     starts it, serves on  ────────────────>   starts
//!                           <─── hello ──────
//!     sessions rest
//!     one server after the other ──────────>    makes the device, which takes its state
//!                           <─── ready ──────   (or why it is not)
//!     "go", ends            ────────────────>   sessions go on
//! ```
//!
//! A device takes part if it has [`Device::save`](crate::Device::save) and
//! [`Device::restore`](crate::Device::restore). A program takes part if it serves with
//! [`Program`](crate::cli::Program), or does what that does: [`ServerSet::on_exchange`] in the old
//! process, [`Inherited`] in the new one.
//!
//! [`ServerSet::on_exchange`]: crate::server::ServerSet::on_exchange

mod channel;
mod inherited;
pub(crate) mod interruption;
#[cfg(feature = "cli")]
pub(crate) mod store;
mod successor;

use std::fmt;
use std::io;
use std::process::Command;

pub use inherited::Inherited;
pub(crate) use successor::Successor;

use crate::server::Listener;
use crate::state::{Descriptors, DeviceState, StateError};

/// The variable that tells a process that it takes another one's place: its standard input is the
/// socket by which that hands everything over.
const VARIABLE: &str = "VFIO_USER_EXCHANGE";

/// Why there is no exchange. The process that was to go serves on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The new process cannot be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The new process speaks another version.
    #[error("the new process exchanges by version {found}, this one by version {known}")]
    Version {
        /// The new one's.
        found: u32,
        /// This one's.
        known: u32,
    },
    /// The new process said why it cannot.
    #[error("the new process is not ready: {0}")]
    Refused(String),
    /// The new process has ended.
    #[error("the new process ended before it was ready; its log says why")]
    Ended,
    /// The new process takes too long.
    #[error("the new process was not ready in time")]
    Silent,
    /// A session is in the midst of something.
    #[error(
        "{0}: its session does not come to rest: the client does not read, or the device hangs"
    )]
    Busy(String),
    /// A server cannot be handed over.
    #[error("cannot hand {server} over")]
    State {
        /// Its name.
        server: String,
        /// Why.
        source: StateError,
    },
    /// What is around the servers cannot be handed over.
    #[error("{0}")]
    Program(String),
    /// Something that neither side says.
    #[error("a message that makes no sense: {0}")]
    Message(String),
    /// This program does not know how to start another one.
    #[error("this program cannot be exchanged")]
    NotPossible,
    /// The socket between the processes failed.
    #[error("cannot speak to the new process")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => ExchangeError::Ended,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ExchangeError::Silent,
            _ => ExchangeError::Io(error),
        }
    }
}

/// How a program is exchanged: the process to start, and what the program itself keeps.
pub struct Exchange {
    /// Starts the new process. Its standard input is needed for the exchange.
    pub command: Command,
    /// Called when all sessions rest: what the program keeps, beside its servers.
    pub save: Box<dyn FnOnce() -> Result<ProgramState, ExchangeError> + Send>,
}

/// What a program keeps beside its servers: a state, and sockets of its own.
#[derive(Debug)]
pub struct ProgramState {
    pub(crate) state: DeviceState,
    pub(crate) fds: Descriptors,
}

impl ProgramState {
    /// Nothing.
    pub fn none() -> Self {
        ProgramState { state: DeviceState::none(), fds: Descriptors::default() }
    }

    /// A state of the program, and listening sockets, which the new process finds in their order.
    ///
    /// # Errors
    /// The state cannot be written, or descriptors have run out.
    pub fn new<'l>(
        state: &impl serde::Serialize,
        sockets: impl IntoIterator<Item = &'l Listener>,
    ) -> Result<Self, StateError> {
        let mut fds = Descriptors::default();
        let sockets = sockets.into_iter().map(|listener| listener.save(&mut fds));
        let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
        let state =
            DeviceState::of(&inherited::Program { state: DeviceState::of(state)?, sockets })?;
        Ok(ProgramState { state, fds })
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("command", &self.command).finish_non_exhaustive()
    }
}
