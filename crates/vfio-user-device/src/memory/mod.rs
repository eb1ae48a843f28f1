//! Guest memory: regions that a client announces, and the accesses of a device to them.

mod budget;
mod by_message;
mod completion;
mod cursor;
mod dirty_log;
mod file_io;
mod files;
mod immediate;
mod mapped;
mod mapping;
mod pages;
mod queue;
mod region_file;
mod shared_memory;
mod sharing;
mod sigbus;
mod space;
mod watched;
mod watched_regions;

pub(crate) use by_message::{HeldMessage, InFlight};
pub use completion::{DmaCompletion, DmaError, Rejected};
pub use cursor::Segment;
pub(crate) use cursor::{Ahead, Buffer, Cursor};
pub(crate) use mapped::MappedFile;
pub(crate) use mapping::Mapping;
pub(crate) use queue::{DmaQueue, DmaQueueState, Ended, Owner, Step};
pub use shared_memory::SharedMemory;
pub(crate) use space::{DmaSpace, MapError, MemoryState, log_not_shared};
pub use watched::WatchedMemory;
