//! Who is at the other end of a socket.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The process that connected, as this process knows it. `None` for one of another process
/// namespace (a QEMU in a container, say), which has no number here.
pub(crate) fn process_id(socket: BorrowedFd<'_>) -> Option<i32> {
    let credentials = getsockopt(&socket, PeerCredentials).ok()?;
    Some(credentials.pid()).filter(|id| *id > 0)
}

/// What a client is called in the log.
pub(crate) fn name(process: Option<i32>) -> String {
    process.map_or("client".into(), |id| format!("client (process {id})"))
}

/// Whether the other end has gone.
pub(crate) fn hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::RDHUP)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_ones_own_socket_is_oneself() {
        let (socket, _other) = UnixStream::pair().unwrap();
        assert_eq!(process_id(socket.as_fd()), i32::try_from(std::process::id()).ok());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(process_id(file.as_fd()), None);
    }
}
