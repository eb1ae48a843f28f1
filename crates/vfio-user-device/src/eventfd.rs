//! An eventfd(2): what interrupts and wake-ups travel by.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::Errno;

use crate::state::{Descriptors, FdNumber, StateError};

/// A non-blocking eventfd. A clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct EventFd(Arc<OwnedFd>);

impl EventFd {
    /// A new one, with no signal.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn new() -> Result<Self, Errno> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(EventFd(Arc::new(fd)))
    }

    /// That of a saved state, by its number there.
    ///
    /// # Errors
    /// The state has no such descriptor, or it is no eventfd.
    pub fn taken(
        number: Option<FdNumber>,
        fds: &mut Descriptors,
    ) -> Result<Option<Self>, StateError> {
        let eventfd = fds.take_some(number)?.map(EventFd::from_client).transpose();
        eventfd.map_err(|errno| StateError::Descriptor(errno.into()))
    }

    /// Takes a client's descriptor. It has to be an eventfd, as the kernel's VFIO wants it too: a
    /// pipe could be full, and a file be readable for ever. It is made non-blocking, because a
    /// client could otherwise stop the server with one whose counter is full.
    ///
    /// # Errors
    /// `EINVAL` for anything else, or what fcntl(2) says.
    pub fn from_client(fd: OwnedFd) -> Result<Self, Errno> {
        let is_eventfd = match std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
            Ok(kind) => kind.as_os_str() == "anon_inode:[eventfd]",
            // There is no /proc.
            Err(_) => behaves_like_eventfd(&fd)?,
        };
        if !is_eventfd {
            return Err(Errno::INVAL);
        }
        let flags = fcntl_getfl(&fd)?;
        if !flags.contains(OFlags::NONBLOCK) {
            fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        }
        Ok(EventFd(Arc::new(fd)))
    }

    /// Signals it. A full counter is a signalled one.
    ///
    /// # Errors
    /// What write(2) says: the signal is lost.
    pub fn signal(&self) -> Result<(), Errno> {
        match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Signals an interrupt; the log tells when it is lost.
    pub fn interrupt(&self) {
        if let Err(errno) = self.signal() {
            log::warn!("interrupt lost: cannot write to its eventfd: {errno}");
        }
    }

    /// Takes the signals so far. Returns whether there were any.
    pub fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Saves one, if there is one, for [`EventFd::taken`].
    ///
    /// # Errors
    /// There are too many descriptors.
    pub fn saved(
        eventfd: Option<&Self>,
        fds: &mut Descriptors,
    ) -> Result<Option<FdNumber>, StateError> {
        eventfd.map(|EventFd(fd)| fds.add_shared(fd)).transpose()
    }
}

/// Whether a descriptor does what an eventfd does, as far as that can be tried without a signal that
/// the client would see. An eventfd whose counter is full does not.
fn behaves_like_eventfd(fd: &OwnedFd) -> Result<bool, Errno> {
    // Files, pipes, sockets and devices have a type.
    if fstat(fd)?.st_mode & libc::S_IFMT != 0 {
        return Ok(false);
    }
    let mut fds = [PollFd::new(fd, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let writable = fds[0].revents().contains(PollFlags::OUT);
    // The one number that an eventfd rejects. A descriptor that has a type, or takes it, is another.
    Ok(writable && rustix::io::write(fd, &u64::MAX.to_ne_bytes()) == Err(Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use rustix::event::epoll;
    use rustix::fs::{MemfdFlags, Mode, memfd_create, open};
    use rustix::pipe::pipe;

    use super::*;

    #[test]
    fn signals_are_kept_until_they_are_taken() {
        let event = EventFd::new().unwrap();
        assert!(!event.take());
        event.signal().unwrap();
        event.interrupt();
        assert!(event.take() && !event.take());
    }

    #[test]
    fn eventfds_are_told_from_other_descriptors_without_proc() {
        for (count, flags) in [
            (0, EventfdFlags::empty()),
            (1, EventfdFlags::NONBLOCK),
            (7, EventfdFlags::SEMAPHORE | EventfdFlags::NONBLOCK),
        ] {
            let event = eventfd(count, flags).unwrap();
            assert_eq!(behaves_like_eventfd(&event), Ok(true), "{flags:?}");
            if count > 0 {
                let mut value = [0; 8];
                rustix::io::read(&event, &mut value).unwrap();
                assert_eq!(u64::from_ne_bytes(value), 1, "its counter is what it was");
            }
        }
        let (reader, writer) = pipe().unwrap();
        let others = [
            reader,
            writer,
            open("/dev/null", OFlags::RDWR, Mode::empty()).unwrap(),
            memfd_create("memory", MemfdFlags::empty()).unwrap(),
            epoll::create(epoll::CreateFlags::empty()).unwrap(),
        ];
        for (number, other) in others.iter().enumerate() {
            assert_eq!(behaves_like_eventfd(other), Ok(false), "{number}");
        }
        assert_eq!(fstat(&others[3]).unwrap().st_size, 0, "nothing was written to it");
    }
}
