//! Where a device's random bytes come from: one trait, and a handful of sources behind it.
//!
//! A device never waits, so a [`Source`] never makes it wait: it has bytes, or it says how the
//! device hears of them. [`Specification`] is what the command line says about a source, and opens
//! it.
//!
//! | source | bytes come from | drawn |
//! | --- | --- | --- |
//! | `getrandom` | the operating system | at once |
//! | `chacha20:SEED` | a seed, for tests: everybody can predict them | at once |
//! | `file:PATH`, a memory device such as /dev/urandom | the kernel | at once |
//! | `file:PATH`, anything else | a file, a FIFO, a hardware generator, a terminal | by a worker |
//! | `egd:...` | an entropy gathering daemon, or whoever sends bytes | by a worker |
//!
//! A worker is a thread that may be kept waiting in the device's stead. It reads what the device
//! has asked for and no more, so that a scarce source is not drained for nothing, and leaves it in
//! a mailbox. Every byte that was read is given out once: what a short read brings is given out as
//! it is, and what was read for a request that was reset is there for the next one.
//!
//! A source that fails is tried again, soon at first and then every few seconds. The log says once
//! that it fails, and once that it works again.

mod egd;
mod file;
mod immediate;
mod mailbox;
mod predictable;
mod shared;
mod specification;
#[cfg(test)]
mod testing;
mod trouble;
mod worker;

pub use egd::{EgdAddress, Local};
pub use shared::{Change, ClassState, GroupOf, Joining, Share, SharedError, SharedSource};
pub use specification::{Specification, SpecificationError};

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use vfio_user_kit::Waker;

/// What a source has for a request at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// So many bytes, 1 or more, are at the start of the buffer.
    Bytes(usize),
    /// Nothing yet; the waker will be used when there is.
    WhenWoken,
    /// Nothing yet, and nobody will say when there is: ask again after this time.
    After(Duration),
}

/// A source of random bytes that never makes its caller wait.
pub trait Source: Send {
    /// Takes up to `buffer.len()` bytes, which is 1 or more. Without bytes at hand this is the
    /// request for them, and takes the place of an earlier one that has not been answered.
    fn draw(&mut self, buffer: &mut [u8]) -> Drawn;
}

/// Whoever has a source for a device.
pub trait Supplier: Send + Sync {
    /// Opens the source. When it has said [`Drawn::WhenWoken`], that waker is used.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn open(&self, waker: Waker) -> Result<Box<dyn Source>, SourceError>;
}

impl Supplier for Specification {
    fn open(&self, waker: Waker) -> Result<Box<dyn Source>, SourceError> {
        Specification::open(self, waker)
    }
}

/// Why a source cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The operating system has no random bytes to give.
    #[error("getrandom(2) does not work here")]
    Getrandom(#[source] io::Error),
    /// The file is not there, or not to be read.
    #[error("cannot read {path}")]
    Open {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody can connect at that address.
    #[error("cannot listen at {address}")]
    Listen {
        /// The address.
        address: EgdAddress,
        /// What the system says.
        source: io::Error,
    },
    /// The socket's file cannot be made.
    #[error(transparent)]
    Socket(#[from] vfio_user_kit::ServerError),
    /// The thread that waits for the bytes cannot be had.
    #[error("cannot start the thread that reads the source")]
    Worker(#[source] io::Error),
}
