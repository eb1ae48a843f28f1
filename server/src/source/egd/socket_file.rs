//! A socket file to listen at: put there with care, and removed again.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::source::{EgdAddress, SourceError};

/// Peers that may wait for their turn.
const BACKLOG: i32 = 4;

/// A socket file, removed when it is dropped if it is still the same one.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Listens at `path`, for processes of the same user: whoever connects chooses the guest's
    /// random bytes. A socket file that nobody listens at is replaced, anything else is left alone.
    ///
    /// # Errors
    /// [`SourceError::NotASocket`], [`SourceError::InUse`], or [`SourceError::Listen`] with what
    /// the system says.
    pub fn listen(path: &Path) -> Result<(OwnedFd, SocketFile), SourceError> {
        let failed = |source: io::Error| SourceError::Listen {
            address: EgdAddress::Unix(path.into()),
            source,
        };
        let address = SocketAddrUnix::new(path).map_err(|errno| failed(errno.into()))?;
        remove_stale(path, &address).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => SourceError::NotASocket(path.into()),
            ErrorKind::AddrInUse => SourceError::InUse(path.into()),
            _ => failed(error),
        })?;
        listen_at(path, &address).map_err(failed)
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

fn listen_at(path: &Path, address: &SocketAddrUnix) -> io::Result<(OwnedFd, SocketFile)> {
    let socket = stream_socket()?;
    // What bind(2) gives to the file on Linux.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, address)?;
    let status = path.symlink_metadata()?;
    let file = SocketFile { path: path.into(), device: status.dev(), inode: status.ino() };
    listen(&socket, BACKLOG)?;
    Ok((socket, file))
}

fn stream_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Removes a socket file that nobody listens at. Fails with `AlreadyExists` if it is not a socket,
/// with `AddrInUse` if somebody listens.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(status) if !status.file_type().is_socket() => {
            return Err(ErrorKind::AlreadyExists.into());
        }
        Ok(_) => {}
    }
    match connect(stream_socket()?, address) {
        Err(Errno::CONNREFUSED) => {
            log::info!("replacing the stale socket {}", path.display());
            std::fs::remove_file(path)
        }
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ACCESS) => Err(Errno::ACCESS.into()),
        // Also when it is full, or of another type.
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[test]
    fn the_file_is_its_owners_alone_and_goes_with_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (socket, file) = SocketFile::listen(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop((socket, file));
        assert!(!path.exists());
    }

    #[test]
    fn only_a_socket_that_nobody_listens_at_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let first = SocketFile::listen(&path).unwrap();
        assert!(matches!(SocketFile::listen(&path), Err(SourceError::InUse(_))));
        drop(first);

        let other_type = UnixDatagram::bind(&path).unwrap();
        assert!(matches!(SocketFile::listen(&path), Err(SourceError::InUse(_))));
        drop(other_type);
        std::fs::remove_file(&path).unwrap();

        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(SocketFile::listen(&path), Err(SourceError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn another_ones_file_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = SocketFile::listen(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = SocketFile::listen(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn paths_no_socket_can_have_are_named_in_the_error() {
        for path in ["x".repeat(200), "/nonexistent/s".into()] {
            let error = SocketFile::listen(Path::new(&path)).unwrap_err();
            assert!(matches!(error, SourceError::Listen { .. }));
            assert!(error.to_string().contains(&path), "{error}");
        }
    }
}
