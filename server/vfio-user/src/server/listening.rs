//! Listening sockets: one at a path of the file system, or one that was passed to this process.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

use super::ServerError;
use super::socket_file::SocketFile;

/// A listening unix stream socket.
#[derive(Debug)]
pub struct Listening {
    listener: UnixListener,
    name: String,
    /// The file to remove in the end, if this process has made it.
    _file: Option<SocketFile>,
}

impl Listening {
    /// Listens at `path`, exactly as it is given, with a file of these permissions. A socket file
    /// that nobody serves is replaced. The file is removed when the value goes.
    ///
    /// # Errors
    /// See [`ServerError`]; what is at the path is left alone then.
    pub fn at(path: &Path, mode: u32) -> Result<Self, ServerError> {
        let (listener, file) = SocketFile::listen(path, mode)?;
        Ok(Listening { listener, name: path.display().to_string(), _file: Some(file) })
    }

    /// Takes over a socket that listens already. Its file stays in the end.
    ///
    /// # Errors
    /// [`ServerError::NotListening`] for anything else.
    pub fn passed(descriptor: OwnedFd) -> Result<Self, ServerError> {
        let number = descriptor.as_raw_fd();
        let unsuitable = |what| ServerError::NotListening { number, what };
        if let Some(what) = unsuitable_as_listener(&descriptor) {
            return Err(unsuitable(what));
        }
        let listener = UnixListener::from(descriptor);
        // Others who have the socket see this, too; they may take a client from under our eyes, and
        // accept(2) would wait for the next one.
        listener.set_nonblocking(true).map_err(|error| unsuitable(error.to_string()))?;
        let address = listener.local_addr().ok();
        let path = address.as_ref().and_then(SocketAddr::as_pathname);
        let name = path.map_or(format!("descriptor {number}"), |path| path.display().to_string());
        Ok(Listening { listener, name, _file: None })
    }

    /// The socket, which does not block.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// What it is called in the log: its path, if it has one.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a descriptor is, if it is no listening unix stream socket.
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
