//! Guest memory as the device reaches it: a table of regions, and the queue of accesses to them.
//!
//! A client announces its memory region by region. The bytes of a region with a file descriptor are
//! copied from and to [that file](RegionFile); those of one without are reached only by asking the
//! client, with DMA_READ and DMA_WRITE messages. The table says which of the two an address needs.

mod state;
mod written;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::completion::DmaError;
use super::dirty_log::DirtyLog;
use super::files::MemoryFiles;
use super::region_file::{RegionFile, Shares};
use super::sharing::Sharing;
use crate::protocol::wire::{DmaMapFlags, MAX_DMA_REGION_SIZE, MAX_DMA_REGIONS};
use crate::recording::{Recorder, ReplayedMemory};
pub(crate) use state::MemoryState;

/// One announced region.
#[derive(Debug)]
struct Region {
    size: u64,
    access: DmaMapFlags,
    /// The client's file, in which this process reaches the bytes. Without one only the client does.
    file: Option<RegionFile>,
}

/// A place in a file: the file of a region, and an offset in that region.
pub(super) type Place<'m> = (&'m RegionFile, u64);

/// Why a region cannot be announced.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// No size, no access, or a range past the end of the address space.
    #[error("region {address:#x} of {size:#x} bytes is not possible")]
    NotARange {
        /// First address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// Larger than any guest.
    #[error("region of {0:#x} bytes, {MAX_DMA_REGION_SIZE:#x} at most")]
    TooLarge(u64),
    /// Overlaps one that is there.
    #[error("region {address:#x} of {size:#x} bytes overlaps the one at {existing:#x}")]
    Overlap {
        /// First address.
        address: u64,
        /// Bytes.
        size: u64,
        /// First address of the region that is there.
        existing: u64,
    },
    /// The table is full.
    #[error("more than {MAX_DMA_REGIONS} regions")]
    TooMany,
    /// The file cannot be mapped.
    #[error("file cannot be mapped: {0}")]
    Mmap(#[from] Errno),
}

impl MapError {
    /// The errno for the client.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            MapError::NotARange { .. } | MapError::TooMany => Errno::INVAL,
            MapError::TooLarge(_) => Errno::NOSPC,
            MapError::Overlap { .. } => Errno::EXIST,
            MapError::Mmap(errno) => *errno,
        }
    }
}

/// The regions of guest memory, by first address. They never overlap.
#[derive(Debug, Default)]
pub(crate) struct DmaSpace {
    regions: BTreeMap<u64, Region>,
    shares: Shares,
    files: MemoryFiles,
    sharing: Sharing,
    log: RefCell<Option<DirtyLog>>,
    pub recorder: Recorder,
    /// In a replay: what the guest's memory was like.
    pub replayed: Option<ReplayedMemory>,
}

impl DmaSpace {
    /// Announces a region, with a file if this process can reach its bytes by that. The flags say how.
    pub fn map(
        &mut self,
        address: u64,
        size: u64,
        flags: DmaMapFlags,
        file: Option<(OwnedFd, u64)>,
    ) -> Result<(), MapError> {
        let Some(last) = size.checked_sub(1).and_then(|rest| address.checked_add(rest)) else {
            return Err(MapError::NotARange { address, size });
        };
        let access = flags & (DmaMapFlags::READ | DmaMapFlags::WRITE);
        if access.is_empty() {
            return Err(MapError::NotARange { address, size });
        }
        if size > MAX_DMA_REGION_SIZE {
            return Err(MapError::TooLarge(size));
        }
        // Regions do not overlap, so only the last one that starts by our end can reach into us.
        if let Some((existing, region)) = self.regions.range(..=last).next_back() {
            if *existing >= address || region.size > address - existing {
                return Err(MapError::Overlap { address, size, existing: *existing });
            }
        }
        if self.regions.len() >= MAX_DMA_REGIONS {
            return Err(MapError::TooMany);
        }
        if file.is_none() && !access.contains(DmaMapFlags::WRITE) {
            self.sharing.ask();
        }
        let file = file.filter(|_| !self.sharing.is_private());
        let file = match file {
            Some((file, offset)) => match self.files.keep(file, &self.shares.files)? {
                Some(file) => RegionFile::open((file, offset), size, flags, &self.shares)?,
                None => None,
            },
            None => None,
        };
        self.regions.insert(address, Region { size, access, file });
        Ok(())
    }

    /// Takes back every region in a range; that there is none is as good. Returns false, and
    /// changes nothing, if a region lies across the range's border or there is no such range.
    pub fn unmap(&mut self, address: u64, size: u64) -> bool {
        let Some(last) = size.checked_sub(1).and_then(|rest| address.checked_add(rest)) else {
            return false;
        };
        let end_of = |start: u64, region: &Region| start + (region.size - 1);
        let before = self.regions.range(..address).next_back();
        let final_one = self.regions.range(address..=last).next_back();
        let reaches_in = before.is_some_and(|(start, region)| end_of(*start, region) >= address);
        let reaches_out = final_one.is_some_and(|(start, region)| end_of(*start, region) > last);
        if reaches_in || reaches_out {
            return false;
        }
        let inside: Vec<u64> =
            self.regions.range(address..=last).map(|(start, _)| *start).collect();
        for start in inside {
            self.regions.remove(&start);
        }
        true
    }

    /// Takes every region back.
    pub fn clear(&mut self) {
        self.regions.clear();
    }

    /// Takes every region back, because the client is gone.
    pub fn disconnect(&mut self) {
        self.clear();
        self.sharing = Sharing::default();
        self.stop_log();
    }

    /// The client answers DMA messages, also for memory with a file: it is asked until it is known
    /// whether the guest's writes show in that.
    pub fn ask_client(&self) {
        self.sharing.ask();
    }

    /// Whether the guest's writes do not show in its memory's files.
    pub fn is_private(&self) -> bool {
        self.sharing.is_private()
    }

    /// Removes mappings in which the guest's writes do not show; the log says so once.
    pub fn drop_private_mappings(&mut self) {
        if !self.sharing.news() {
            return;
        }
        let mut largest = None;
        for (address, region) in &mut self.regions {
            if region.file.take().is_some() {
                largest = largest.max(Some((region.size, *address)));
            }
        }
        if let Some((size, address)) = largest {
            log_not_shared(address, size);
        }
    }

    /// Compares what the client has said of memory, or was just told, with what a mapping shows.
    pub fn compare(&self, address: u64, said: &[u8]) {
        if self.replayed.is_some() {
            self.sharing.compare(said, said);
        } else if let Some((file, offset)) = self.readable_file(address) {
            let mut shown = vec![0; said.len()];
            if file.read(offset, &mut shown).is_ok() {
                self.sharing.compare(said, &shown);
            }
        }
    }

    /// The client refuses to be asked for an address. Returns whether a mapping is to do instead.
    pub fn refused(&self, address: u64) -> bool {
        self.readable_file(address).is_some() && self.sharing.refused()
    }

    /// Whether the client is asked for an address although its file is here, to learn whether the guest's
    /// writes show there.
    pub fn is_asked_first(&self, address: u64) -> bool {
        self.readable_file(address).is_some()
    }

    /// The file of an address, if it can be read, and where in it that is.
    fn readable_file(&self, address: u64) -> Option<Place<'_>> {
        let (region, offset) = self.region(address, DmaMapFlags::READ).ok()?;
        Some((region.file.as_ref()?, offset))
    }

    /// Whether this process reaches the region from that address on without messages.
    pub fn has_file(&self, address: u64) -> bool {
        self.regions.get(&address).is_some_and(|region| region.file.is_some())
    }

    /// Whether it reaches any region so.
    pub fn has_any_file(&self) -> bool {
        self.regions.values().any(|region| region.file.is_some())
    }

    /// The file that has the bytes from `address` on, and how many of `length` lie there in one piece.
    ///
    /// There is a file also while nothing tells yet whether the guest's writes show in it.
    pub(super) fn locate(
        &self,
        address: u64,
        length: usize,
        access: DmaMapFlags,
    ) -> Result<(Option<Place<'_>>, usize), DmaError> {
        let (region, offset) = self.region(address, access)?;
        let length = usize::try_from(region.size - offset).unwrap_or(usize::MAX).min(length);
        Ok((region.file.as_ref().map(|file| (file, offset)), length))
    }

    /// Whether files are used where there are some, and not the client asked.
    pub(super) fn uses_files(&self) -> bool {
        self.sharing.use_mappings()
    }

    /// Address and size of each region, and whether the device may write there.
    pub fn ranges(&self) -> Vec<(u64, u64, bool)> {
        let range = |(address, region): (&u64, &Region)| {
            (*address, region.size, region.access.contains(DmaMapFlags::WRITE))
        };
        self.regions.iter().map(range).collect()
    }

    /// The region that holds an address, and the address's offset in it.
    fn region(&self, address: u64, access: DmaMapFlags) -> Result<(&Region, u64), DmaError> {
        let (start, region) = self
            .regions
            .range(..=address)
            .next_back()
            .filter(|(start, region)| address - *start < region.size)
            .ok_or(DmaError::NotMapped { address })?;
        if !region.access.contains(access) {
            return Err(DmaError::NotPermitted { address });
        }
        Ok((region, address - start))
    }
}

/// Tells the user that and why the device is slow.
pub(crate) fn log_not_shared(address: u64, size: u64) {
    log::info!(
        "guest memory at {address:#x} ({} KiB) is not shared: the device reaches it by slow \
         messages only. Give QEMU memory with share=on: \
         -object memory-backend-memfd,id=m0,size=SIZE,share=on -machine memory-backend=m0",
        size >> 10
    );
}

#[cfg(test)]
mod tests;
