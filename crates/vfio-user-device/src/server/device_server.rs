//! One listener socket and the device behind it.

use std::error::Error;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::admission::AdmissionPolicy;
use super::error::ServerError;
use super::listener::Listener;
use super::socket_file::SocketPermissions;
use super::state::ServerState;
use crate::device::Device;
use crate::pci::function::{FunctionError, OnPanic, PciFunction};
use crate::pci::panics;
use crate::recording::Recording;
use crate::session::ClientLink;

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
pub(super) type Factory =
    Box<dyn Fn() -> Result<Box<dyn Device>, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// A listener socket and the device behind it.
pub struct Server {
    pub(super) listener: Listener,
    pub(super) function: PciFunction,
    pub(super) factory: Option<Factory>,
    pub(super) options: Options,
    pub(super) policy: Option<Arc<dyn AdmissionPolicy>>,
    pub(super) state: ServerState,
    pub(super) client: Option<InheritedClient>,
    pub(super) recording: Option<RecordedAs>,
    /// Place of the state page that a process before this one has kept it in.
    pub(crate) entry: Option<usize>,
}

/// Where a server's sessions are recorded, and what the program calls its device there.
pub(super) struct RecordedAs {
    pub recording: Recording,
    pub device: serde_json::Value,
}

/// A client that another process has served so far.
pub(super) struct InheritedClient {
    pub process: Option<i32>,
    /// `None` for one that has not got the device yet.
    pub since: Option<SystemTime>,
    pub session: Box<ClientLink>,
}

impl Server {
    /// Listens at `path`, exactly as it is given. A socket file that no process listens on is replaced. The
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
        let function = pci_function(device)?;
        Ok(Server::new(Listener::bind(path, options.socket_mode)?, function, options))
    }

    /// Serves at a socket that listens already: one that the process was started with, say. Its
    /// file is its maker's, and stays.
    ///
    /// # Errors
    /// [`ServerError::NotListening`] for anything but a listener unix stream socket, or the device
    /// is impossible.
    pub fn from_listener(
        listener: impl Into<OwnedFd>,
        device: impl Device + 'static,
        options: Options,
    ) -> Result<Self, ServerError> {
        let function = pci_function(device)?;
        Ok(Server::new(Listener::from_fd(listener.into())?, function, options))
    }

    pub(super) fn new(listener: Listener, function: PciFunction, options: Options) -> Self {
        let state = ServerState::default();
        Server {
            listener,
            function,
            factory: None,
            options,
            policy: None,
            state,
            client: None,
            recording: None,
            entry: None,
        }
    }

    /// The same server, with a factory that makes the device anew for the client that comes after a
    /// panic. Without one, such clients are rejected.
    #[must_use]
    pub fn with_factory<F>(mut self, factory: F) -> Self
    where
        F: Fn() -> Result<Box<dyn Device>, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    {
        self.factory = Some(Box::new(factory));
        self
    }

    /// The same server, with a policy that is asked for each client.
    #[must_use]
    pub fn with_admission_policy(mut self, policy: Arc<dyn AdmissionPolicy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The same server, with all its sessions recorded. `device` is what the program calls the device and
    /// what it was told, for readers of the recording.
    #[must_use]
    pub fn with_recording(mut self, recording: &Recording, device: serde_json::Value) -> Self {
        self.recording = Some(RecordedAs { recording: recording.clone(), device });
        self
    }

    /// What changes the permissions of the socket's file, if this server has made it.
    pub fn socket_permissions(&self) -> Option<SocketPermissions> {
        self.listener.permissions()
    }

    /// What tells about this server's clients while it runs.
    pub fn state(&self) -> ServerState {
        self.state.clone()
    }
}

/// The PCI function of a device, which clients access.
///
/// # Errors
/// The device is invalid.
pub(super) fn pci_function(device: impl Device + 'static) -> Result<PciFunction, FunctionError> {
    panics::remember_places();
    PciFunction::new(Box::new(device), OnPanic::Disable)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { listener, function, options, .. } = self;
        f.debug_tuple("Server").field(listener).field(function).field(options).finish()
    }
}
