//! Recordings: what happened between a guest and its device, in a file.
//!
//! A [`Recording`] is the file of a program. Each session puts its records into a ring of its own,
//! without waiting for anything: a ring that is full costs records, which are counted, and never time.
//! One thread of the program writes all rings to the file. [`read`] takes a file apart again, and
//! [`replay`] has a device do all of it once more.
//!
//! Everything is recorded as it was between client and device: the messages of the client with their
//! replies, interrupts, accesses to guest memory, timers. Register accesses are those messages; the
//! record of a session's beginning has the names of the registers.

mod events;
mod format;
mod read;
mod recorder;
mod replay;
mod session;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use events::{
    Event, Interrupt, InterruptKind, MemoryAccess, Message, Recorded, RecordedBar,
    RecordedRegister, RegionEvent, SessionInfo,
};
pub use format::MAX_KEPT;
pub use read::{File, ReadError, read};
pub(crate) use recorder::{PinChange, Recorder};
pub(crate) use replay::ReplayedMemory;
pub use replay::{Difference, ReplayError, Replayed, replay};
use writer::Writer;

/// A file that sessions are recorded to. Clones are the same file.
#[derive(Clone, Debug)]
pub struct Recording(Arc<Writer>);

impl Recording {
    /// Begins a file, in place of what is there. It gets no longer than `limit` bytes: when it is full, the
    /// recording ends and the program goes on. Others than the owner cannot read it: it has what the
    /// guest was given.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, limit: u64) -> io::Result<Self> {
        Ok(Recording(Writer::create(path, limit)?))
    }

    /// Goes on with the file of another process, whose place this one takes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(path: &Path, limit: u64) -> io::Result<Self> {
        Ok(Recording(Writer::append(path, limit)?))
    }

    /// Writes what has been recorded so far, and ends the recording.
    pub fn finish(&self) {
        self.0.finish();
    }

    /// Begins the records of one client.
    pub(crate) fn begin(&self, info: &SessionInfo) -> Recorder {
        self.0.begin(info)
    }
}

/// The monotonic clock, in nanoseconds: the clock of all records.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // It counts from the machine's start.
    let (seconds, nanoseconds) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

#[cfg(test)]
mod tests;
