//! Bytes from an entropy gathering daemon (EGD), or from any peer that sends bytes to a socket.
//!
//! The protocol is the one that QEMU's `rng-egd` speaks: a request is the byte 2 and a number of
//! bytes from 1 to 255, the answer is that many bytes and nothing else. Longer requests are made
//! of several, of which a few are on their way at once. A peer that sends without being asked is
//! as good: its bytes are answers.
//!
//! Usually the daemon listens and we connect; with `,listen` it is the other way round. One peer is
//! connected at a time, and another one that connects waits until the first has gone. A connection
//! that is lost is made again, and what was asked over it and did not come is asked again.
//!
//! Nothing is read but what the device asks for: a peer that sends more than that is held up by
//! the socket's own buffer.

mod address;
mod datagram;
mod stream;

pub use address::{EgdAddress, Local};

use std::io;

use vfio_user_device::Waker;

use super::mailbox::Closed;
use super::worker::Worker;
use super::{Source, SourceError};

/// The command that asks for bytes and waits for them.
const READ_BLOCKING: u8 = 2;
/// Most bytes that one request can ask for.
const MAX_REQUEST_LEN: usize = 255;
/// Most requests on their way at once.
const PIPELINED: usize = 16;
/// Most bytes that are asked for at once.
const MAX_ASKED: usize = PIPELINED * MAX_REQUEST_LEN;

/// The source at this address.
///
/// # Errors
/// The address cannot be listened at, or the worker cannot be started. A daemon that does not listen
/// yet is not an error: the connection is retried with backoff.
pub(super) fn open(
    address: &EgdAddress,
    listen: bool,
    waker: Waker,
) -> Result<Box<dyn Source>, SourceError> {
    let worker = if let EgdAddress::Udp { .. } = address {
        let peer = datagram::Datagrams::new(address, listen)?;
        Worker::start(waker, |mailbox| peer.run(mailbox))
    } else {
        let peer = stream::Stream::new(address, listen)?;
        Worker::start(waker, |mailbox| peer.run(mailbox))
    };
    Ok(Box::new(worker.map_err(SourceError::Worker)?))
}

/// The requests that ask for so many bytes together.
fn requests(bytes: usize) -> impl Iterator<Item = [u8; 2]> {
    let longest = std::iter::repeat_n(u8::MAX, bytes / MAX_REQUEST_LEN);
    let rest = u8::try_from(bytes % MAX_REQUEST_LEN).ok().filter(|rest| *rest > 0);
    longest.chain(rest).map(|count| [READ_BLOCKING, count])
}

/// Why work with a peer ended.
#[derive(Debug)]
enum Stop {
    /// The device has no use for it any more.
    Closed,
    /// It failed, and is retried with backoff.
    Failed(io::Error),
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Stop::Closed
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Failed(error)
    }
}

impl From<rustix::io::Errno> for Stop {
    fn from(errno: rustix::io::Errno) -> Self {
        Stop::Failed(errno.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_requests_are_split() {
        let split = |bytes| requests(bytes).collect::<Vec<_>>();
        assert_eq!(split(0), [[0; 2]; 0]);
        assert_eq!(split(1), [[2, 1]]);
        assert_eq!(split(255), [[2, 255]]);
        assert_eq!(split(256), [[2, 255], [2, 1]]);
        assert_eq!(split(MAX_ASKED), [[2, 255]; PIPELINED]);
    }
}
