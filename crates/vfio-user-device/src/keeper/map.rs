//! The memory of a state page: a file of its own that stays when the process goes.
//!
//! The process that serves writes to it by plain stores. A process that takes its place after a crash
//! reads it. The two are never alive together. So all that matters is the order of the stores, which
//! only the compiler could change: a commit is one atomic store behind all others.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vm_memory::{AtomicAccess, VolatileSlice};

use super::layout::{COMMIT, CRASHES, HEAD, INSIDE, LENGTH, MAGIC, MAGIC_OFFSET, UNKEPT};
use crate::memory::Mapping;

/// Bits of the commit word below the epoch.
const EPOCH_SHIFT: u32 = 32;

/// Why a page does not have all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unkept {
    /// A part cannot be written.
    Part = 1,
    /// A message comes in too many pieces.
    Message = 2,
    /// The client migrates the device.
    Migration = 4,
}

/// The memory and its file.
#[derive(Debug)]
pub(crate) struct Map {
    memory: Mapping,
    file: OwnedFd,
}

/// A part of the memory that one owner alone writes to.
#[derive(Debug)]
pub(super) struct Area {
    map: Arc<Map>,
    range: Range<usize>,
}

impl Map {
    /// New memory, in which nothing is. Only what is written to takes memory.
    ///
    /// # Errors
    /// Descriptors or memory have run out.
    pub fn new() -> io::Result<Arc<Self>> {
        let file = memfd_create("state-page", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, LENGTH as u64)?;
        let map = Map::of(file)?;
        map.store(MAGIC_OFFSET, MAGIC);
        Ok(Arc::new(map))
    }

    /// That of a process which has ended.
    ///
    /// # Errors
    /// It is something else, or cannot be mapped.
    pub fn of(file: OwnedFd) -> io::Result<Self> {
        if rustix::fs::fstat(&file)?.st_size != LENGTH as i64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Map { memory: Mapping::new(file.as_fd(), 0, LENGTH, true)?, file })
    }

    /// Whether a process of this version has written it.
    pub fn is_valid(&self) -> bool {
        self.load::<u64>(MAGIC_OFFSET) == MAGIC
    }

    /// A range of it for one owner. Each range is asked for once.
    pub(super) fn area(self: &Arc<Self>, range: Range<usize>) -> Area {
        assert!(range.start >= HEAD && range.end <= LENGTH, "areas lie in the page");
        Area { map: Arc::clone(self), range }
    }

    /// A number in it.
    pub(super) fn load<T: AtomicAccess>(&self, offset: usize) -> T {
        self.memory.load(offset)
    }

    /// Stores a number, behind all that was written before.
    pub(super) fn store<T: AtomicAccess>(&self, offset: usize, number: T) {
        self.memory.store(offset, number);
    }

    /// Which copies count.
    pub fn copies(&self) -> u32 {
        let [a, b, c, d, ..] = self.load::<u64>(COMMIT).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// How many times messages were taken out of the journal.
    pub fn epoch(&self) -> u32 {
        let [.., a, b, c, d] = self.load::<u64>(COMMIT).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Lets these copies count from now on, with all that was written before.
    pub(super) fn commit(&self, copies: u32, epoch: u32) {
        let word = u64::from(epoch) << EPOCH_SHIFT | u64::from(copies);
        self.store(COMMIT, word);
    }

    /// Notes whether the device's own code is run.
    pub fn set_inside(&self, inside: bool) {
        self.store(INSIDE, u32::from(inside));
    }

    /// Whether the device's own code was run when the process ended.
    pub fn is_inside(&self) -> bool {
        self.load::<u32>(INSIDE) != 0
    }

    /// Crashes of the process while the device's own code was run, one after the other.
    pub fn crashes(&self) -> u32 {
        self.load(CRASHES)
    }

    pub(super) fn set_crashes(&self, crashes: u32) {
        self.store(CRASHES, crashes);
    }

    /// The page does not have all, or has it again: its client is lost with the process.
    pub fn set_unkept(&self, reason: Unkept, unkept: bool) {
        let bit = reason as u32;
        let before: u32 = self.load(UNKEPT);
        self.store(UNKEPT, if unkept { before | bit } else { before & !bit });
    }

    pub fn is_unkept(&self) -> bool {
        self.load::<u32>(UNKEPT) != 0
    }

    /// A copy of bytes.
    pub fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        self.memory.read(offset, length)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Area {
    pub fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// A part of it, by an offset in the page.
    pub fn part(&self, offset: usize, length: usize) -> VolatileSlice<'_> {
        let end = offset.saturating_add(length);
        assert!(offset >= self.range.start && end <= self.range.end, "each owner has its area");
        self.map.memory.part(offset, length)
    }

    /// Writes bytes.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.part(offset, bytes.len()).copy_from(bytes);
    }
}
