//! A shared mapping of a file. Nothing makes a reference into it: its bytes are copied out and in, and
//! its numbers are loaded and stored whole.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::Ordering;

use memmap2::{Advice, MmapOptions, MmapRaw};
use vm_memory::{AtomicAccess, Bytes, VolatileSlice};

/// The mapping. No core dump has it.
#[derive(Debug)]
pub(crate) struct Mapping(MmapRaw);

impl Mapping {
    /// Maps a part of a file that begins at a page. The descriptor is not needed afterwards.
    ///
    /// # Errors
    /// What mmap(2) and madvise(2) say.
    pub fn new(file: BorrowedFd<'_>, offset: u64, length: usize, write: bool) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.offset(offset).len(length);
        let file = file.as_raw_fd();
        let mapped = if write { options.map_raw(file) } else { options.map_raw_read_only(file) }?;
        mapped.advise(Advice::DontDump)?;
        Ok(Mapping(mapped))
    }

    /// All of it.
    pub fn whole(&self) -> VolatileSlice<'_> {
        // SAFETY: address and length are those of the mapping, which lives as long as `self`. Only
        // volatile and atomic accesses are made by way of the result.
        unsafe { VolatileSlice::new(self.0.as_mut_ptr(), self.0.len()) }
    }

    /// A part of it, which has to lie in it.
    pub fn part(&self, offset: usize, length: usize) -> VolatileSlice<'_> {
        let part = self.whole().subslice(offset, length);
        part.unwrap_or_else(|error| panic!("{offset:#x} lies in the mapping: {error}"))
    }

    /// A number at an aligned place.
    pub fn load<T: AtomicAccess>(&self, offset: usize) -> T {
        let number = self.whole().load(offset, Ordering::Acquire);
        number.unwrap_or_else(|error| panic!("a number at {offset:#x}: {error}"))
    }

    /// Stores a number at an aligned place, behind all that was written before.
    pub fn store<T: AtomicAccess>(&self, offset: usize, number: T) {
        let stored = self.whole().store(number, offset, Ordering::Release);
        stored.unwrap_or_else(|error| panic!("a number at {offset:#x}: {error}"));
    }

    /// A copy of bytes.
    pub fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.part(offset, length).copy_to(&mut bytes);
        bytes
    }
}
