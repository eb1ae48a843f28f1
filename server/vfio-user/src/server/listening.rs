//! Listening sockets: one at a path of the file system, or one that was passed to this process.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use super::ServerError;

/// How long to wait for another server that starts in the same folder, which takes no time.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How often to look whether it is done.
const LOCK_RETRY: Duration = Duration::from_millis(2);
/// Clients that may wait to be accepted.
const BACKLOG: i32 = 16;

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
        let bind_error = |source| ServerError::Bind { path: path.into(), source };
        let _alone = lock_folder_of(path);
        remove_stale_socket(path)?;
        let listener = listen_at(path, mode).map_err(bind_error)?;
        let file = SocketFile::new(path).map_err(bind_error)?;
        listener.set_nonblocking(true).map_err(bind_error)?;
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

/// A socket file, removed when it is dropped if it is still the same one.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let status = path.symlink_metadata()?;
        Ok(SocketFile { path: path.into(), device: status.dev(), inode: status.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours =
            |status: std::fs::Metadata| (status.dev(), status.ino()) == (self.device, self.inode);
        if self.path.symlink_metadata().is_ok_and(ours) {
            if let Err(error) = std::fs::remove_file(&self.path) {
                log::warn!("cannot remove {}: {error}", self.path.display());
            }
        }
    }
}

/// A listening socket whose file has these permissions, and never had more.
fn listen_at(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // What bind(2) gives to the file on Linux, less the umask (which is the whole process's).
    fchmod(&socket, Mode::from_raw_mode(mode))?;
    bind(&socket, &address)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Keeps other servers from looking at sockets in the same folder until the value goes: they would
/// take a socket for stale that is bound and not listened on yet, or remove one that has just been
/// put in a stale one's place.
///
/// The lock is an abstract socket name, which leaves no file behind and meets no lock that others
/// may have on the folder. Somebody who keeps that name only makes the start a second slower.
fn lock_folder_of(path: &Path) -> Option<UnixDatagram> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let status = folder.unwrap_or(Path::new(".")).metadata().ok()?;
    let name = format!("vfio-user-kit.{:x}.{:x}", status.dev(), status.ino());
    let address = SocketAddr::from_abstract_name(name).ok()?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match UnixDatagram::bind_addr(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::park_timeout(LOCK_RETRY);
            }
            bound => return bound.ok(),
        }
    }
}

/// Makes way for a new socket: removes one that nobody listens on, and nothing else.
fn remove_stale_socket(path: &Path) -> Result<(), ServerError> {
    let bind_error = |source| ServerError::Bind { path: path.into(), source };
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(bind_error(error)),
        Ok(status) if !status.file_type().is_socket() => {
            return Err(ServerError::NotASocket(path.into()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            log::info!("replacing the stale socket {}", path.display());
            std::fs::remove_file(path).map_err(bind_error)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(bind_error(error)),
        _ => Err(ServerError::InUse(path.into())),
    }
}
