//! How long a session waits for the client's replies to DMA messages.

use std::time::{Duration, Instant};

use crate::protocol::connection::Connection;
use crate::protocol::connection_error::ConnectionError;

/// A moment from which on replies are not waited for.
pub(super) struct ReplyDeadline {
    at: Instant,
    /// When the time was over, the client's answer may have been in the socket already, if this
    /// thread was not run for long: it has been looked at when so many bytes were received.
    look_until: Option<u64>,
}

impl ReplyDeadline {
    /// In so much time.
    pub fn after(time: Duration) -> Self {
        ReplyDeadline { at: Instant::now() + time, look_until: None }
    }

    /// When it is.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Whether to wait no longer. `replies` is where the client's answer comes.
    pub fn is_over(&mut self, replies: &Connection) -> Result<bool, ConnectionError> {
        if Instant::now() < self.at {
            return Ok(false);
        }
        let unread = replies.unread()?;
        let all = *self.look_until.get_or_insert_with(|| replies.received() + unread);
        Ok(unread == 0 && !replies.has_buffered_bytes() || replies.has_handed_out(all))
    }
}
