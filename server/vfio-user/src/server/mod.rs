//! A device's socket: who may connect, one client after the other.
//!
//! A [`Server`] is one socket and the device behind it; [`Servers`] run side by side in one program,
//! each with its own clients. A device outlives its clients.

mod gate;
mod listening;
mod pace;
mod served;
mod servers;
mod socket_file;
mod watch;

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

pub use gate::{Gate, Pass, Refused};
pub use listening::Listening;
#[cfg(feature = "program")]
pub(crate) use listening::unsuitable_as_listener;
pub use servers::{Key, Servers};
pub use watch::{Connected, ConnectedClient, Status, Watch};

use crate::device::Device;
use crate::host::{Host, HostError, OnPanic};
use crate::panics;

/// Why a server cannot be had at a path, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Something else lives there.
    #[error("{0} exists and is not a socket; choose another path, or remove it yourself")]
    NotASocket(PathBuf),
    /// Somebody serves that socket.
    #[error("{0} is served by a running process already; stop it, or choose another path")]
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
    #[error("descriptor {number} is {what}; a listening unix stream socket is needed")]
    NotListening {
        /// Its number.
        number: i32,
        /// What it is.
        what: String,
    },
    /// The device is impossible.
    #[error(transparent)]
    Device(#[from] HostError),
    /// Listening sockets cannot be waited for.
    #[error("cannot wait for clients")]
    Listen(#[from] Errno),
}

/// How to serve a device.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Permissions of the socket file.
    pub socket_mode: u32,
    /// How long to ask for the next message again and again before going to sleep. It takes a
    /// whole processor that long after each message, and saves the wake-up.
    pub busy_poll: Duration,
}

impl Default for Options {
    /// A socket for its owner alone, and no busy waiting.
    fn default() -> Self {
        Options { socket_mode: 0o600, busy_poll: Duration::ZERO }
    }
}

/// Makes a device anew.
type Factory = Box<dyn Fn() -> Result<Box<dyn Device>, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// A listening socket and the device behind it.
pub struct Server {
    listening: Listening,
    host: Host,
    factory: Option<Factory>,
    options: Options,
    gate: Option<Arc<dyn Gate>>,
    watch: Watch,
}

impl Server {
    /// Listens at `path`, exactly as it is given. A socket file that nobody serves is replaced. The
    /// file is removed when the server ends.
    ///
    /// # Errors
    /// See [`ServerError`]; what is at the path is left alone then.
    pub fn bind(
        path: &Path,
        device: impl Device + 'static,
        options: Options,
    ) -> Result<Self, ServerError> {
        // An impossible device is to leave no trace.
        let host = host(device)?;
        Ok(Server::new(Listening::at(path, options.socket_mode)?, host, options))
    }

    /// Serves at a socket that listens already: one that the process was started with, say. Its
    /// file is its maker's, and stays.
    ///
    /// # Errors
    /// [`ServerError::NotListening`] for anything but a listening unix stream socket, or the device
    /// is impossible.
    pub fn from_listener(
        listener: impl Into<OwnedFd>,
        device: impl Device + 'static,
        options: Options,
    ) -> Result<Self, ServerError> {
        let host = host(device)?;
        Ok(Server::new(Listening::passed(listener.into())?, host, options))
    }

    fn new(listening: Listening, host: Host, options: Options) -> Self {
        let watch = Watch::default();
        Server { listening, host, factory: None, options, gate: None, watch }
    }

    /// The same server, with a factory that makes the device anew for the client that comes after a
    /// panic. Without one, such clients are refused.
    #[must_use]
    pub fn with_factory<F>(mut self, factory: F) -> Self
    where
        F: Fn() -> Result<Box<dyn Device>, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    {
        self.factory = Some(Box::new(factory));
        self
    }

    /// The same server, with a gate that is asked for each client.
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// What tells about this server's clients while it runs.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Serves clients, one at a time, until `stop` becomes readable. For a program with a single
    /// server; [`Servers`] are several.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub fn run(self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        let servers = Servers::new()?;
        servers.add(self)?;
        servers.run(stop)
    }
}

/// What a client sees of a device.
fn host(device: impl Device + 'static) -> Result<Host, HostError> {
    panics::remember_places();
    Host::new(Box::new(device), OnPanic::PlayDead)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { listening, host, options, .. } = self;
        f.debug_tuple("Server").field(listening).field(host).field(options).finish()
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
