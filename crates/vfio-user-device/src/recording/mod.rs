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

pub use events::{
    Event, Interrupt, InterruptKind, MemoryAccess, Message, Recorded, RecordedBar,
    RecordedRegister, RegionEvent, SessionInfo,
};
pub use format::MAX_KEPT;
pub use read::{File, ReadError, read};
pub(crate) use recorder::{PinChange, Recorder};
pub(crate) use replay::ReplayedMemory;
pub use replay::{Difference, ReplayError, Replayed, replay};
pub use writer::Recording;

/// The monotonic clock, in nanoseconds: the clock of all records.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // It counts from the machine's start.
    let (seconds, nanoseconds) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

#[cfg(test)]
mod tests;
