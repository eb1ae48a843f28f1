//! Sources of random bytes: one trait, and the sources behind it.
//!
//! A device never blocks, so a [`Source`] never blocks it: a read returns bytes, or says when to read
//! again. [`Specification`] is what the command line says about a source, and opens it.
//!
//! | source | bytes come from | read |
//! | --- | --- | --- |
//! | `getrandom` | the operating system | at once |
//! | `chacha20:SEED` | a seed, for tests: anyone can predict them | at once |
//! | `file:PATH`, a memory device such as /dev/urandom | the kernel | at once |
//! | `file:PATH`, anything else | a file, a FIFO, a hardware generator, a terminal | by a worker |
//! | `egd:...` | an entropy gathering daemon, or any peer that sends bytes | by a worker |
//!
//! A worker is a thread that may block instead of the device. It reads as many bytes as the device
//! has requested and no more, so that a scarce source is not drained, and leaves them in a mailbox.
//! Every byte is given out once: the bytes of a short read as they are, and those of a request that
//! was reset with the next request.
//!
//! A source that fails is retried with backoff, from 10 ms to 5 s. The log says once that it fails,
//! and once that it gives bytes again.

mod egd;
mod file;
mod mailbox;
mod non_blocking;
mod retry_backoff;
mod seeded;
mod shared;
mod specification;
mod tested;
#[cfg(test)]
mod testing;
mod worker;

pub use egd::{EgdAddress, Local};
pub use shared::{Change, ClassState, GroupOf, Joining, Share, SharedError, SharedSource};
pub use specification::{Specification, SpecificationError};

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vfio_user_device::Waker;

use crate::health::HealthReport;

/// What a read of a source returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes, 1 or more, are at the start of the buffer.
    Bytes(usize),
    /// No bytes yet. The source uses the waker when there are.
    Pending,
    /// No bytes yet, and the waker will not be used: read again after this time.
    RetryAfter(Duration),
}

/// A source of random bytes that never blocks its caller.
pub trait Source: Send {
    /// Reads up to `buffer.len()` bytes, which is 1 or more. If there are none, this is the request for
    /// them; it replaces an earlier one that is still pending.
    fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome;

    /// What its health tests have found, if it has any.
    fn health(&self) -> Option<HealthReport> {
        None
    }

    /// How far it was read, if another one can go on from there. What is [unread](Source::unread) counts as
    /// read.
    fn position(&self) -> Option<SourcePosition> {
        None
    }

    /// Goes on from the position of another one, if that was of the same kind.
    fn set_position(&mut self, position: SourcePosition) {
        let _ = position;
    }

    /// Bytes that were read from where they come from, and not given out: of a pipe, they are nowhere else.
    fn unread(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// How far a source was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourcePosition {
    /// Bytes of a seeded stream.
    Seeded(u64),
    /// Bytes of a file.
    File {
        /// Its device.
        device: u64,
        /// Its inode.
        inode: u64,
        /// The next byte.
        offset: u64,
    },
}

/// Opens a source for a device.
pub trait SourceFactory: Send + Sync {
    /// Opens the source. After it has returned [`ReadOutcome::Pending`], it uses that waker.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn open(&self, waker: Waker) -> Result<Box<dyn Source>, SourceError>;
}

impl SourceFactory for Specification {
    fn open(&self, waker: Waker) -> Result<Box<dyn Source>, SourceError> {
        Specification::open(self, waker)
    }
}

/// Why a source cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The operating system has no random bytes to give.
    #[error("cannot call getrandom(2)")]
    Getrandom(#[source] io::Error),
    /// The file is not there, or not to be read.
    #[error("cannot read {path}")]
    Open {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No socket can listen at that address.
    #[error("cannot listen at {address}")]
    Listen {
        /// The address.
        address: EgdAddress,
        /// What the system says.
        source: io::Error,
    },
    /// The socket's file cannot be made.
    #[error(transparent)]
    Socket(#[from] vfio_user_device::server::ServerError),
    /// The thread that waits for the bytes cannot be started.
    #[error("cannot start the thread that reads the source")]
    Worker(#[source] io::Error),
}
