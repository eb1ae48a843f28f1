//! Turning a client away that comes while another is connected.
//!
//! Closing its socket would be enough for the protocol. But a socket that is closed while data lies
//! unread in it resets the connection, and QEMU 11.1 aborts on a reset; so the client's VERSION is
//! read and answered with EBUSY, which QEMU reports in its own words.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::connection::{Connection, ConnectionError};
use super::error_header;

/// How long a client may take to say what it is refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers the client's first message with EBUSY and closes the connection.
pub(crate) fn refuse(socket: OwnedFd) {
    let mut connection = Connection::new(Arc::new(socket));
    // One that says nothing, or goes first, is refused all the same.
    let _ = answer_first_message(&mut connection);
    connection.discard_unread();
}

fn answer_first_message(connection: &mut Connection) -> Result<(), ConnectionError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(message) = connection.receive(RecvFlags::DONTWAIT)? {
            let header = message.header;
            if header.is_command() && header.wants_reply() {
                connection.send(&error_header(&header, Errno::BUSY), [&[], &[]], None)?;
            }
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let mut fds = [PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN)];
        poll(&mut fds, Timespec::try_from(left).ok().as_ref())?;
    }
}
