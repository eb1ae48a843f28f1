//! The directory: which state pages there are, in memory that the keeper has from the start and each
//! process that it starts inherits.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vm_memory::VolatileMemory;

use crate::memory::Mapping;

/// Most servers of a process that is kept.
const ENTRIES: usize = 1 << 16;
/// Entry of what the program keeps beside its servers.
const PROGRAM: usize = 0;
/// A reserved entry without a page.
const RESERVED: i32 = -1;

/// The directory of this process, if it is kept.
static DIRECTORY: OnceLock<Directory> = OnceLock::new();

/// The directory.
#[derive(Debug)]
pub(crate) struct Directory {
    memory: Mapping,
}

/// What is in the memory. A page is the number of its descriptor and 1.
#[repr(C)]
struct Entries {
    /// The process serves.
    ready: u32,
    /// Nothing is to go on after this process.
    finished: u32,
    pages: [i32; ENTRIES],
    crashes: [u32; ENTRIES],
}

fn page_at(entry: usize) -> usize {
    offset_of!(Entries, pages) + entry % ENTRIES * size_of::<i32>()
}

fn crashes_at(entry: usize) -> usize {
    offset_of!(Entries, crashes) + entry % ENTRIES * size_of::<u32>()
}

/// The directory of this process, if a keeper has started it.
pub(crate) fn directory() -> Option<&'static Directory> {
    DIRECTORY.get()
}

impl Directory {
    /// Makes that of this process and those that it starts.
    ///
    /// # Errors
    /// Memory has run out, or there is one.
    #[cfg(feature = "cli")]
    pub fn install() -> io::Result<&'static Self> {
        DIRECTORY.set(Directory::new()?).map_err(|_| io::ErrorKind::AlreadyExists)?;
        DIRECTORY.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// An empty one.
    pub fn new() -> io::Result<Self> {
        // Shared with the processes that are forked. The descriptor is not needed for that.
        let file = memfd_create("state-pages", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size_of::<Entries>() as u64)?;
        let memory = Mapping::new(file.as_fd(), 0, size_of::<Entries>(), true)?;
        Ok(Directory { memory })
    }

    /// Replaces a page that is `old`.
    fn replace(&self, entry: usize, old: i32, new: i32) -> bool {
        let whole = self.memory.whole();
        let replaced = whole.get_atomic_ref::<AtomicI32>(page_at(entry)).map(|page| {
            page.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        });
        replaced.unwrap_or(false)
    }

    /// An entry that nothing has.
    pub fn reserve(&self) -> Option<usize> {
        (PROGRAM + 1..ENTRIES).find(|entry| self.replace(*entry, 0, RESERVED))
    }

    /// Lets an entry have that page from now on, or none.
    pub fn set(&self, entry: usize, page: Option<RawFd>) {
        // Crashes are counted in the page from now on.
        self.set_crashes(entry, 0);
        self.memory.store(page_at(entry), page.map_or(0, |page| page.saturating_add(1)));
    }

    fn page(&self, entry: usize) -> Option<RawFd> {
        Some(self.memory.load::<i32>(page_at(entry)) - 1).filter(|page| *page >= 0)
    }

    /// The entries that have a page, without that of the program.
    pub fn all(&self) -> Vec<(usize, RawFd)> {
        (PROGRAM + 1..ENTRIES).filter_map(|entry| Some((entry, self.page(entry)?))).collect()
    }

    /// Frees the entries that have no page: a process has ended before it had one.
    pub fn free_reserved(&self) {
        for entry in PROGRAM + 1..ENTRIES {
            self.replace(entry, RESERVED, 0);
        }
    }

    /// The page of the program.
    pub fn program(&self) -> Option<RawFd> {
        self.page(PROGRAM)
    }

    /// Lets the program have that page.
    pub fn set_program(&self, page: RawFd) {
        self.set(PROGRAM, Some(page));
    }

    /// Crashes that count against the device of an entry, for the page that takes its place.
    pub fn crashes(&self, entry: usize) -> u32 {
        self.memory.load(crashes_at(entry))
    }

    pub fn set_crashes(&self, entry: usize, crashes: u32) {
        self.memory.store(crashes_at(entry), crashes);
    }

    /// The process serves from now on, or has ended.
    pub fn set_ready(&self, ready: bool) {
        self.memory.store(offset_of!(Entries, ready), u32::from(ready));
    }

    pub fn is_ready(&self) -> bool {
        self.memory.load::<u32>(offset_of!(Entries, ready)) != 0
    }

    /// Whether nothing is to go on after this process: it ends as it was told to, or another one has
    /// its servers.
    pub fn set_finished(&self, finished: bool) {
        self.memory.store(offset_of!(Entries, finished), u32::from(finished));
    }

    pub fn is_finished(&self) -> bool {
        self.memory.load::<u32>(offset_of!(Entries, finished)) != 0
    }
}

/// Nothing is to go on after this process, or something is again; if it is kept.
pub(crate) fn set_finished(finished: bool) {
    if let Some(directory) = directory() {
        directory.set_finished(finished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_reserved_used_and_freed() {
        let directory = Directory::new().unwrap();
        let (one, other) = (directory.reserve().unwrap(), directory.reserve().unwrap());
        assert_ne!(one, other);
        assert!(directory.all().is_empty());
        directory.set(other, Some(7));
        assert_eq!(directory.all(), [(other, 7)]);
        directory.free_reserved();
        assert_eq!(directory.reserve(), Some(one));
        assert_eq!(directory.program(), None);
        directory.set_program(0);
        assert_eq!(directory.program(), Some(0));
    }
}
