//! What can go wrong with a server.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::pci::function::FunctionError;
use crate::state::StateError;

/// Why a server cannot be had at a path, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Something else lives there.
    #[error("{0} exists and is not a socket; choose another path, or remove it yourself")]
    NotASocket(PathBuf),
    /// Another process serves that socket.
    #[error("{0} is in use by a running process; stop it, or choose another path")]
    InUse(PathBuf),
    /// The path is not one for a socket.
    #[error("cannot listen at {path}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A descriptor that was passed is not what it should be.
    #[error("descriptor {number} is {what}; a listener unix stream socket is needed")]
    NotListening {
        /// Its number.
        number: i32,
        /// What it is.
        what: String,
    },
    /// The device is impossible.
    #[error(transparent)]
    Device(#[from] FunctionError),
    /// A device cannot take the place of another process's.
    #[error("{name}")]
    Exchange {
        /// Name of the server.
        name: String,
        /// Why.
        source: StateError,
    },
    /// Listener sockets cannot be waited for.
    #[error("cannot wait for clients")]
    Listen(#[source] io::Error),
}

impl ServerError {
    pub(super) fn listen(errno: Errno) -> Self {
        ServerError::Listen(errno.into())
    }
}
