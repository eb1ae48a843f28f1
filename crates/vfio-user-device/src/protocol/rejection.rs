//! Turning a client away.
//!
//! Closing its socket would be enough for the protocol. But a socket that is closed while data lies
//! unread in it resets the connection, and QEMU 11.1 aborts on a reset; so the client's VERSION is
//! read and answered with an error, which QEMU reports in its own words.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use zerocopy::IntoBytes;

use super::connection::Connection;
use super::connection_error::ConnectionError;
use super::header::error_header;

/// How long a client may take to send the message that is answered with the error.
pub(crate) const REJECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// A client that gets an error. Its connection is closed when this is dropped.
pub(crate) struct Rejection {
    connection: Connection,
    errno: Errno,
}

impl Rejection {
    pub fn new(socket: Arc<OwnedFd>, errno: Errno) -> Self {
        Rejection { connection: Connection::new(socket), errno }
    }

    /// Answers the client's first message if it is here. Returns whether there is no more to do.
    pub fn advance(&mut self) -> bool {
        // A client that disconnects first is rejected, too.
        self.answer().unwrap_or(true)
    }

    /// Answers the client's first message, however long it takes, but not longer than
    /// [`REJECTION_TIMEOUT`].
    pub fn finish(mut self) {
        let deadline = Instant::now() + REJECTION_TIMEOUT;
        while !self.advance() {
            if Instant::now() >= deadline || self.connection.wait(deadline).is_err() {
                return;
            }
        }
    }

    fn answer(&mut self) -> Result<bool, ConnectionError> {
        let Some(message) = self.connection.receive(RecvFlags::DONTWAIT)? else {
            return Ok(false);
        };
        let header = message.header;
        if header.is_command() && header.wants_reply() {
            self.connection.send([error_header(&header, self.errno).as_bytes(), &[], &[]], None)?;
        }
        Ok(true)
    }
}

impl Drop for Rejection {
    fn drop(&mut self) {
        self.connection.discard_unread();
    }
}

impl AsFd for Rejection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
