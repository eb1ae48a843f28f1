//! A device's socket: who may connect, one client after the other.
//!
//! The listening thread accepts and refuses; each connected client is served by a thread of its
//! own, which has the device to itself until the client goes. The device outlives its clients.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, listen, shutdown,
    socket_with,
};

use crate::device::Device;
use crate::host::{Host, HostError};
use crate::peer;
use crate::session::{ConnectionError, Session, refuse};

/// How long a session may take to end after its client has gone.
const SESSION_END: Duration = Duration::from_secs(1);
/// How long to leave a listening socket alone that accept(2) has failed on, for want of
/// descriptors for example.
const ACCEPT_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// How long to wait for another server that starts in the same folder, which takes no time.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How often to look whether it is done.
const LOCK_RETRY: Duration = Duration::from_millis(2);
/// Clients that may wait to be accepted.
const BACKLOG: i32 = 16;

/// Most clients that are refused with an answer at once.
const MAX_REFUSALS: usize = 16;

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
    /// The device is impossible.
    #[error(transparent)]
    Device(#[from] HostError),
    /// The listening socket failed.
    #[error("the listening socket failed")]
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

/// A listening socket and the device behind it.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    file: SocketFile,
    host: Arc<Mutex<Host>>,
    options: Options,
    /// Counts the clients that are being refused.
    refusals: Arc<()>,
}

impl Server {
    /// Listens at `path`, exactly as it is given. A socket file that nobody serves is replaced.
    ///
    /// # Errors
    /// See [`ServerError`]; what is at the path is left alone then.
    pub fn bind(
        path: &Path,
        device: impl Device + 'static,
        options: Options,
    ) -> Result<Self, ServerError> {
        let host = Host::new(Box::new(device))?;
        let bind_error = |source| ServerError::Bind { path: path.into(), source };
        let _alone = lock_folder_of(path);
        remove_stale_socket(path)?;
        let listener = listen_at(path, options.socket_mode).map_err(bind_error)?;
        let file = SocketFile::new(path).map_err(bind_error)?;
        listener.set_nonblocking(true).map_err(bind_error)?;
        Ok(Server {
            listener,
            file,
            host: Arc::new(Mutex::new(host)),
            options,
            refusals: Arc::new(()),
        })
    }

    /// Serves clients, one at a time, until `stop` becomes readable. The socket file is removed
    /// when the server is dropped.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub fn run(&self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        let mut current: Option<Running> = None;
        let mut accept_failed_with = None;
        loop {
            let listener = self.listener.as_fd();
            let mut fds = [listener, stop].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if !fds[1].revents().is_empty() {
                break;
            }
            match self.listener.accept() {
                Ok((client, _)) => current = self.admit(client, current),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    let reason = error.raw_os_error();
                    if reason != accept_failed_with {
                        let path = self.file.path.display();
                        log::error!("cannot accept clients at {path}: {error}; trying again");
                    }
                    accept_failed_with = reason;
                    // Either way the loop looks at `stop` next.
                    let mut stop = [PollFd::from_borrowed_fd(stop, PollFlags::IN)];
                    let _ = poll(&mut stop, Some(&ACCEPT_PAUSE));
                    continue;
                }
            }
            accept_failed_with = None;
        }
        if let Some(running) = current {
            running.stop();
        }
        Ok(())
    }

    /// Serves a new client, unless one is there already; then the new one is told so and
    /// closed, so that a QEMU behind it fails at once with a message of its own.
    fn admit(&self, client: UnixStream, current: Option<Running>) -> Option<Running> {
        let peer = peer_name(&client);
        if let Some(running) = current {
            if let Some(still_there) = running.ended() {
                log::warn!("refused {peer}: {} is connected", still_there.peer);
                self.refuse(client);
                return Some(still_there);
            }
        }
        match self.start_session(client, peer) {
            Ok(running) => Some(running),
            Err(error) => {
                log::error!("cannot serve a client: {error}");
                None
            }
        }
    }

    /// Answers the client on a thread of its own, because it may be slow to ask. Of very many at
    /// once the surplus is just closed.
    fn refuse(&self, client: UnixStream) {
        let refusals = Arc::clone(&self.refusals);
        if Arc::strong_count(&refusals) > MAX_REFUSALS {
            return;
        }
        let refusal = thread::Builder::new().name("refusal".into());
        let started = refusal.spawn(move || {
            refuse(client.into());
            drop(refusals);
        });
        if let Err(error) = started {
            log::warn!("cannot answer a refused client: {error}");
        }
    }

    fn start_session(&self, client: UnixStream, peer: String) -> io::Result<Running> {
        // accept(2) does not hand the listener's O_NONBLOCK down on Linux; recvmsg has to block.
        client.set_nonblocking(false)?;
        let socket: OwnedFd = client.into();
        let socket = Arc::new(socket);
        let handle = Arc::downgrade(&socket);
        let host = Arc::clone(&self.host);
        let busy_poll = self.options.busy_poll;
        let name = peer.clone();
        let thread = thread::Builder::new().name("session".into()).spawn(move || {
            // A device that panicked earlier is served on: its state may be odd, but it is its
            // author's bug and better seen than hidden behind a dead socket.
            let mut host = host.lock().unwrap_or_else(PoisonError::into_inner);
            log::info!("{name} connected");
            let session = Session::new(socket, &mut host, busy_poll);
            match catch_unwind(AssertUnwindSafe(|| session.run())) {
                Ok(ConnectionError::Closed) => log::info!("{name} disconnected"),
                Ok(end) => log::warn!("{name} disconnected: {end}"),
                Err(panic) => {
                    // The client's memory and descriptors go with it all the same.
                    host.disconnect();
                    resume_unwind(panic);
                }
            }
        })?;
        Ok(Running { thread, socket: handle, peer })
    }
}

/// A client that is being served.
struct Running {
    thread: JoinHandle<()>,
    /// The client's socket as long as the session has it, to look at and to shut down.
    socket: Weak<OwnedFd>,
    peer: String,
}

impl Running {
    /// Returns itself if the client is still there. If it has hung up, waits for its session to
    /// notice, so that a client that comes right after it is not turned away.
    fn ended(self) -> Option<Running> {
        if self.thread.is_finished() || self.hung_up() { self.wait() } else { Some(self) }
    }

    fn hung_up(&self) -> bool {
        let Some(socket) = self.socket.upgrade() else {
            return true;
        };
        let mut fds = [PollFd::new(&socket, PollFlags::RDHUP)];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::RDHUP)
    }

    /// Ends the session. One that does not end (a device that hangs in one of its verbs) is left
    /// behind.
    fn stop(self) {
        if let Some(socket) = self.socket.upgrade() {
            // An error means that the connection has ended on its own.
            let _ = shutdown(&socket, Shutdown::Both);
        }
        if let Some(stuck) = self.wait() {
            log::error!("the session of {} does not end", stuck.peer);
        }
    }

    /// Waits for the session's end, and returns itself if it does not come.
    fn wait(self) -> Option<Running> {
        let deadline = Instant::now() + SESSION_END;
        while !self.thread.is_finished() {
            if Instant::now() > deadline {
                return Some(self);
            }
            thread::park_timeout(Duration::from_micros(200));
        }
        if self.thread.join().is_err() {
            log::error!("the device panicked while it served {}", self.peer);
        }
        None
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

/// Who is at the other end, for people.
fn peer_name(client: &UnixStream) -> String {
    match peer::process_id(client.as_fd()) {
        Some(id) => format!("client (process {id})"),
        None => "client".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{Access, Bus, Description, Identity};

    struct Nothing;

    impl Device for Nothing {
        fn describe(&self) -> Description {
            Description::new(Identity::new(1, 2))
        }

        fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
            0
        }

        fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}
    }

    fn bind(path: &Path) -> Result<Server, ServerError> {
        Server::bind(path, Nothing, Options::default())
    }

    #[test]
    fn the_socket_is_its_owners_alone_and_goes_with_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exactly this name");
        let server = bind(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        bind(&path).unwrap();
    }

    #[test]
    fn of_servers_that_start_at_once_one_gets_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for _ in 0..20 {
            drop(UnixListener::bind(&path).unwrap());
            let starts: Vec<_> = (0..4)
                .map(|_| {
                    thread::spawn({
                        let path = path.clone();
                        move || bind(&path)
                    })
                })
                .collect();
            let servers: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
            assert_eq!(servers.iter().filter(|server| server.is_ok()).count(), 1);
            assert!(UnixStream::connect(&path).is_ok(), "the one that is left is alive");
            drop(servers);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_served_socket_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(ServerError::InUse(_))));
        drop(first);
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(ServerError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(bind(&link), Err(ServerError::NotASocket(_))));
    }

    #[test]
    fn paths_no_socket_can_have_are_named_in_the_error() {
        let long = "x".repeat(200);
        let error = bind(Path::new(&long)).unwrap_err().to_string();
        assert!(error.contains(&long), "{error}");
        assert!(bind(Path::new("/nonexistent/s")).is_err());
    }

    #[test]
    fn another_servers_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }
}
