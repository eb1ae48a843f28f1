//! Socket files: put at a path with care, and removed again.
//!
//! A socket that a process listens on and any other file stay as they are; only a socket file that
//! its process left behind is replaced. Nothing in here waits for another process longer than
//! [`LOCK_TIMEOUT`], and processes of other users cannot make it wait at all.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::geteuid;

use serde::{Deserialize, Serialize};

use super::ServerError;

/// How long to wait for another process of this user that binds the same path, which takes no time.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often to look whether it is done.
const LOCK_RETRY: Duration = Duration::from_millis(2);
/// Clients that may wait to be accepted.
const BACKLOG: i32 = 16;

/// A socket file, removed when it is dropped if it is still the same one.
#[derive(Debug)]
pub(super) struct SocketFile {
    file: SocketPermissions,
    /// Another process removes it.
    left: Arc<AtomicBool>,
}

/// Reads and changes the permissions of a socket's file while the socket is served.
#[derive(Clone, Debug)]
pub struct SocketPermissions {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// A socket file as a value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SocketFileState {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// A non-blocking socket that listens at `path`, with a file of these permissions. A socket file
    /// that no process listens on is replaced, anything else is left alone.
    ///
    /// # Errors
    /// [`ServerError::NotASocket`], [`ServerError::InUse`], or [`ServerError::Bind`] with what the
    /// system says.
    pub fn listen(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), ServerError> {
        let failed = |source: io::Error| ServerError::Bind { path: path.into(), source };
        let address = SocketAddrUnix::new(path).map_err(|errno| failed(errno.into()))?;
        let lock = Lock::beside(path).inspect_err(|reason| {
            log::debug!("{} is bound without a lock: {reason}", path.display())
        });
        remove_stale(path, &address)?;
        let bound = listen_at(path, &address, mode).map_err(failed);
        drop(lock);
        bound
    }

    /// Which file it is, for another process that removes it in the end.
    pub fn save(&self) -> SocketFileState {
        let SocketPermissions { path, device, inode } = &self.file;
        SocketFileState { path: path.clone(), device: *device, inode: *inode }
    }

    /// Removes the file of another process in the end, unless it is left to that.
    pub fn restore(state: SocketFileState, left: Arc<AtomicBool>) -> Self {
        let SocketFileState { path, device, inode } = state;
        SocketFile { file: SocketPermissions { path, device, inode }, left }
    }

    /// The file stays.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    /// The socket file of this user that is at the path.
    fn of(path: &Path) -> io::Result<Self> {
        let status = path.symlink_metadata()?;
        if !status.file_type().is_socket() || status.uid() != geteuid().as_raw() {
            return Err(replaced());
        }
        let (path, device, inode) = (path.into(), status.dev(), status.ino());
        let file = SocketPermissions { path, device, inode };
        Ok(SocketFile { file, left: Arc::default() })
    }

    /// What changes its permissions.
    pub fn permissions(&self) -> &SocketPermissions {
        &self.file
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let file = &self.file;
        let left = self.left.load(Ordering::Acquire);
        if !left && file.path.symlink_metadata().is_ok_and(|status| file.is(&status)) {
            if let Err(error) = std::fs::remove_file(&file.path) {
                log::warn!("cannot remove {}: {error}", file.path.display());
            }
        }
    }
}

fn listen_at(
    path: &Path,
    address: &SocketAddrUnix,
    mode: u32,
) -> io::Result<(UnixListener, SocketFile)> {
    let socket = stream_socket()?;
    // What bind(2) gives to the file on Linux, less the umask (which is the whole process's).
    fchmod(&socket, Mode::from_raw_mode(mode))?;
    bind(&socket, address)?;
    // At once: until then the socket looks stale.
    listen(&socket, BACKLOG)?;
    let file = SocketFile::of(path)?;
    // Those that the umask has taken from it.
    file.permissions().set(mode)?;
    Ok((socket.into(), file))
}

impl SocketPermissions {
    fn is(&self, status: &Metadata) -> bool {
        (status.dev(), status.ino()) == (self.device, self.inode)
    }

    /// The permissions that the file has.
    ///
    /// # Errors
    /// The file is no longer there, or another one has its name.
    pub fn get(&self) -> io::Result<u32> {
        let status = self.path.symlink_metadata()?;
        if self.is(&status) { Ok(status.permissions().mode() & 0o777) } else { Err(replaced()) }
    }

    /// Gives the file these permissions. In a folder of another user its name can stand for another
    /// file by now, whose permissions stay.
    ///
    /// # Errors
    /// The file is no longer there, or another one has its name.
    pub fn set(&self, mode: u32) -> io::Result<()> {
        if self.get()? == mode & 0o777 {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(open(&self.path, flags, Mode::empty())?);
        if !self.is(&file.metadata()?) {
            return Err(replaced());
        }
        // fchmod(2) takes no descriptor of O_PATH; this is how the C library changes such a file.
        let file = format!("/proc/self/fd/{}", file.as_raw_fd());
        std::fs::set_permissions(file, Permissions::from_mode(mode))
    }
}

fn replaced() -> io::Error {
    io::Error::other("another process has replaced the socket's file")
}

fn stream_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Makes way for a new socket: removes one that no process listens on, and nothing else. It asks
/// without waiting: the backlog of one that a process listens on can be full.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), ServerError> {
    let failed = |source: io::Error| ServerError::Bind { path: path.into(), source };
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(status) if !status.file_type().is_socket() => {
            return Err(ServerError::NotASocket(path.into()));
        }
        Ok(_) => {}
    }
    let socket = stream_socket().map_err(|errno| failed(errno.into()))?;
    match connect(socket, address) {
        Err(Errno::CONNREFUSED) => {
            log::info!("replacing the stale socket {}", path.display());
            std::fs::remove_file(path).map_err(failed)
        }
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ACCESS) => Err(failed(Errno::ACCESS.into())),
        // Also when its backlog is full, or when it is of another type.
        _ => Err(ServerError::InUse(path.into())),
    }
}

/// Keeps other processes of this user from replacing the same stale socket until the value goes:
/// each of them would remove what the other one has just put there.
///
/// It is a lock on a file beside the socket that only this user can open, and so only this user can
/// hold. It is removed with the value.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
enum LockError {
    /// A file of another user has the lock's name, and is not waited for.
    #[error("{0} is not a file of this user alone")]
    Foreign(PathBuf),
    /// The process that has it does not go on.
    #[error("another process holds {0}")]
    Held(PathBuf),
    /// The file cannot be made.
    #[error("cannot lock a file beside it: {0}")]
    Io(#[from] io::Error),
}

impl Lock {
    fn beside(socket: &Path) -> Result<Self, LockError> {
        let name = socket.file_name().unwrap_or_default().to_string_lossy();
        let path = socket.with_file_name(format!(".{name}.lock"));
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            if let Some(lock) = Lock::attempt(&path)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(LockError::Held(path));
            }
            thread::park_timeout(LOCK_RETRY);
        }
    }

    /// Takes the lock, unless another process has it.
    fn attempt(path: &Path) -> Result<Option<Self>, LockError> {
        let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let file = File::from(file.map_err(io::Error::from)?);
        let status = file.metadata()?;
        let private = status.is_file() && status.mode() & 0o077 == 0;
        if !private || status.uid() != geteuid().as_raw() {
            return Err(LockError::Foreign(path.into()));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        // The process that had it before has removed the file, and others may have made a new one.
        let same = |now: Metadata| (now.dev(), now.ino()) == (status.dev(), status.ino());
        let current = path.symlink_metadata().is_ok_and(same);
        Ok(current.then(|| Lock { path: path.into(), _file: file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock goes with the file. If it stays, it is used the next time.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
