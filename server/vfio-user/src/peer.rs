//! Who is at the other end of a socket.

use std::os::fd::{AsRawFd, BorrowedFd};

/// The process that connected, as this process knows it. `None` for one of another process
/// namespace (a QEMU in a container, say), which has no number here.
pub(crate) fn process_id(socket: BorrowedFd<'_>) -> Option<i32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = libc::socklen_t::try_from(size_of::<libc::ucred>()).ok()?;
    // SAFETY: the pointers are to live locals, and `size` is the size of what the first of them
    // points to; any bytes make a valid `ucred`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut size,
        )
    };
    (result == 0 && credentials.pid > 0).then_some(credentials.pid)
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
