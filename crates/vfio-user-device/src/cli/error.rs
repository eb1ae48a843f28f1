//! Why a program cannot serve its device.

use std::io;
use std::path::PathBuf;

use crate::exchange::ExchangeError;
use crate::recording::{ReadError, ReplayError};
use crate::sandbox::SandboxError;
use crate::server::ServerError;

/// Why a program cannot serve its device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    #[error(
        "no socket to listen at: name one with --socket-path PATH or --fd N, or pass one in LISTEN_FDS"
    )]
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
    /// The newline for `--ready-fd` cannot be written.
    #[error("--ready-fd: cannot write the newline")]
    Announce(#[source] io::Error),
    /// The file of a recording cannot be written.
    #[error("cannot record to {path}")]
    Recording {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A recording cannot be read.
    #[error("{path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// A recording cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A replay has shown a difference.
    #[error("the device did something else")]
    Different,
    /// The handlers cannot be set up.
    #[error("cannot handle SIGINT, SIGTERM and SIGHUP")]
    Signals(#[source] io::Error),
    /// The program was served until its end, which SIGHUP was.
    #[error(
        "ended by SIGHUP, as when a terminal is closed (nohup or systemd keep a server running)"
    )]
    HungUp,
    /// What the process does not need cannot be taken from it.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The device cannot be made of its options.
    #[error("cannot make the device: {0}")]
    Device(Box<dyn std::error::Error + Send + Sync>),
    /// The process cannot be kept.
    #[error("--keeper: cannot start the process that serves")]
    Keeper(#[source] io::Error),
    /// This process was to take the place of another one, which goes on.
    #[error("cannot take the place of the running process")]
    Exchange(#[from] ExchangeError),
    /// The socket cannot be served.
    #[error(transparent)]
    Server(#[from] ServerError),
}
