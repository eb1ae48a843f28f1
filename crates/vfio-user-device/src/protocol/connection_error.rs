//! Why a connection ends.

use std::time::Duration;

use rustix::io::Errno;

use super::wire::{HEADER_SIZE, MAX_MESSAGE_SIZE};

/// How long a client may take to send the rest of a message. No later message can be read before.
pub(super) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The other side is gone between two messages.
    #[error("closed by the client")]
    Closed,
    /// The other side is gone within a message.
    #[error("closed by the client within a message")]
    ClosedWithinMessage,
    /// The client has begun a message and does not go on with it.
    #[error(
        "the client sent {received} of {expected} bytes of a message, and not the rest within {} s",
        MESSAGE_TIMEOUT.as_secs()
    )]
    MessageTimeout { received: usize, expected: usize },
    /// The size in a header is invalid, so that the start of the next message is unknown.
    #[error("message {id} announces {size} bytes; expected {HEADER_SIZE} to {MAX_MESSAGE_SIZE}")]
    Size { id: u16, size: u32 },
    /// The first message is something else than VERSION, or a VERSION that cannot be agreed on.
    #[error("no agreement on a protocol version: {0}")]
    Negotiation(String),
    /// A socket that it should read from has been full for too long.
    #[error("the client does not read its socket")]
    NotReading,
    /// It has not ended: its session rests.
    #[error("the session rests")]
    Suspended,
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] Errno),
}
