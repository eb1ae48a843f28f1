//! The descriptor by which one interrupt leaves the server.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// The eventfd of one vector.
#[derive(Debug)]
pub(super) struct EventFd(OwnedFd);

impl EventFd {
    /// Takes a client's descriptor. It has to be an eventfd, as the kernel's VFIO wants it too: a
    /// pipe could be full, and a file be readable for ever. It is made non-blocking, because a
    /// client could otherwise stop the server with one whose counter is full.
    pub fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let kind = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let kind = kind.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if kind.as_os_str() != "anon_inode:[eventfd]" {
            return Err(Errno::INVAL);
        }
        let flags = fcntl_getfl(&fd)?;
        if !flags.contains(OFlags::NONBLOCK) {
            fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        }
        Ok(EventFd(fd))
    }

    pub fn signal(&self) {
        match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            // A full counter is a signalled one.
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(errno) => log::warn!("interrupt lost: writing to its eventfd: {errno}"),
        }
    }

    /// Takes a signal, if there is one.
    pub fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
