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

use super::connection::{Connection, ConnectionError};
use super::error_header;

/// How long a client may take to say what it is refused.
pub(crate) const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// A client that will be told an error, and whose connection is closed when this goes.
pub(crate) struct Refusal {
    connection: Connection,
    errno: Errno,
}

impl Refusal {
    pub fn new(socket: Arc<OwnedFd>, errno: Errno) -> Self {
        Refusal { connection: Connection::new(socket), errno }
    }

    /// Answers the client's first message if it is here. Returns whether there is no more to do.
    pub fn advance(&mut self) -> bool {
        // One that goes first is refused all the same.
        self.answer().unwrap_or(true)
    }

    /// Answers the client's first message, however long it takes, but not longer than
    /// [`REFUSAL_TIME`].
    pub fn finish(mut self) {
        let deadline = Instant::now() + REFUSAL_TIME;
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
            self.connection.send(&error_header(&header, self.errno), [&[], &[]], None)?;
        }
        Ok(true)
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        self.connection.discard_unread();
    }
}

impl AsFd for Refusal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
