//! Listener sockets: one at a path of the file system, or one that was passed to this process.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};
use serde::{Deserialize, Serialize};

use super::ServerError;
use super::socket_file::{SocketFile, SocketFileState, SocketPermissions};
use crate::state::{Descriptors, FdNumber, StateError};

/// A listener unix stream socket.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    name: String,
    /// The file to remove in the end, if this process has made it.
    file: Option<SocketFile>,
}

/// A listener as a value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerState {
    pub name: String,
    socket: FdNumber,
    file: Option<SocketFileState>,
}

impl Listener {
    /// Listens at `path`, exactly as it is given, with a file of these permissions. A socket file
    /// that no process listens on is replaced. The file is removed when the value is dropped.
    ///
    /// # Errors
    /// See [`ServerError`]; what is at the path is left alone then.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, ServerError> {
        let (listener, file) = SocketFile::listen(path, mode)?;
        Ok(Listener { listener, name: path.display().to_string(), file: Some(file) })
    }

    /// Takes over a socket that listens already, such as an activation socket. Its file stays.
    ///
    /// # Errors
    /// [`ServerError::NotListening`] for anything else.
    pub fn from_fd(descriptor: OwnedFd) -> Result<Self, ServerError> {
        let number = descriptor.as_raw_fd();
        let unsuitable = |what| ServerError::NotListening { number, what };
        if let Some(what) = unsuitable_as_listener(&descriptor) {
            return Err(unsuitable(what));
        }
        let listener = UnixListener::from(descriptor);
        // Other processes may have this socket and accept its clients: accept(2) must not wait.
        listener.set_nonblocking(true).map_err(|error| unsuitable(error.to_string()))?;
        let address = listener.local_addr().ok();
        let path = address.as_ref().and_then(SocketAddr::as_pathname);
        let name = path.map_or(format!("descriptor {number}"), |path| path.display().to_string());
        Ok(Listener { listener, name, file: None })
    }

    /// Saves it.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub(crate) fn save(&self, fds: &mut Descriptors) -> Result<ListenerState, StateError> {
        Ok(ListenerState {
            name: self.name.clone(),
            socket: fds.add(self.listener.as_fd())?,
            file: self.file.as_ref().map(SocketFile::save),
        })
    }

    /// Goes on with the socket of another process, and removes its file in the end if that would
    /// have, unless it is left to that.
    ///
    /// # Errors
    /// It does not listen.
    pub(crate) fn restore(
        state: ListenerState,
        fds: &mut Descriptors,
        left: &Arc<AtomicBool>,
    ) -> Result<Self, StateError> {
        let listener = Listener::from_fd(fds.take(state.socket)?)
            .map_err(|error| StateError::Content(error.to_string()))?;
        let file = state.file.map(|file| SocketFile::restore(file, Arc::clone(left)));
        Ok(Listener { name: state.name, file, ..listener })
    }

    /// Another process has the socket from now on: its file stays when this is dropped.
    pub fn leave_file(&self) {
        if let Some(file) = &self.file {
            file.leave();
        }
    }

    /// The socket, which does not block.
    pub fn socket(&self) -> &UnixListener {
        &self.listener
    }

    /// What changes the permissions of its file, if this process has made it.
    pub fn permissions(&self) -> Option<SocketPermissions> {
        self.file.as_ref().map(|file| file.permissions().clone())
    }

    /// What it is called in the log: its path, if it has one.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a descriptor is, if it is no listener unix stream socket.
pub(crate) fn unsuitable_as_listener(descriptor: &OwnedFd) -> Option<String> {
    let kind = match socket_type(descriptor) {
        Ok(kind) => kind,
        Err(Errno::NOTSOCK) => {
            let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
            let target = std::fs::read_link(link);
            let name = target.map_or("something".into(), |path| path.display().to_string());
            return Some(format!("{name}, which is no socket"));
        }
        Err(errno) => return Some(errno.to_string()),
    };
    if socket_domain(descriptor) != Ok(AddressFamily::UNIX) {
        return Some("a socket of another family than AF_UNIX".into());
    }
    match kind {
        SocketType::STREAM if socket_acceptconn(descriptor) == Ok(true) => None,
        SocketType::STREAM => Some("a stream socket that does not listen".into()),
        SocketType::DGRAM => Some("a datagram socket".into()),
        _ => Some("a socket of another type than SOCK_STREAM".into()),
    }
}
