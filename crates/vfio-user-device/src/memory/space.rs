//! Guest memory as the device reaches it: a table of regions, and the queue of accesses to them.
//!
//! A client announces its memory region by region. A region with a file descriptor is mapped and
//! copied from directly ([`MappedFile`]); one without is reached only by asking the client, with
//! DMA_READ and DMA_WRITE messages. The table says which of the two an address needs.

mod budget;
mod mapped;
mod outcome;
mod queue;
mod sharing;
mod sigbus;
mod watched;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use budget::{Room, Share};
pub(crate) use mapped::MappedFile;
pub use outcome::{DmaDone, DmaError, Rejected};
pub use queue::Segment;
pub(crate) use queue::{DmaQueue, InFlight, Step};
use sharing::Sharing;
pub use watched::WatchedMemory;

use crate::wire::{DmaMapFlags, MAX_DMA_REGION_SIZE, MAX_DMA_REGIONS};

/// How the bytes of a region are reached.
#[derive(Debug)]
enum Provider {
    /// The client's file is mapped into this process.
    Mapped(MappedFile, #[expect(dead_code, reason = "kept as long as the mapping")] Room),
    /// Only the client can reach them.
    ByMessage,
}

/// One announced region.
#[derive(Debug)]
struct Region {
    size: u64,
    access: DmaMapFlags,
    provider: Provider,
}

/// Where a piece of guest memory is to be found.
#[derive(Debug)]
pub(crate) enum Place<'m> {
    /// In a mapping, from an offset on.
    Mapped(&'m MappedFile, usize),
    /// At the client.
    ByMessage,
}

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
    share: Share,
    sharing: Sharing,
}

impl DmaSpace {
    /// Announces a region; with a file it is mapped, unless this guest has more than enough of that.
    pub fn map(
        &mut self,
        address: u64,
        size: u64,
        access: DmaMapFlags,
        file: Option<(OwnedFd, u64)>,
    ) -> Result<(), MapError> {
        let Some(last) = size.checked_sub(1).and_then(|rest| address.checked_add(rest)) else {
            return Err(MapError::NotARange { address, size });
        };
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
        let room = file.as_ref().and_then(|_| self.share.room_for(size));
        let provider = match file.zip(room) {
            Some(((file, offset), room)) => {
                Provider::Mapped(MappedFile::new(file.as_fd(), offset, size, access)?, room)
            }
            None => Provider::ByMessage,
        };
        self.regions.insert(address, Region { size, access, provider });
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
            if let Provider::Mapped(..) = region.provider {
                region.provider = Provider::ByMessage;
                largest = largest.max(Some((region.size, *address)));
            }
        }
        if let Some((size, address)) = largest {
            log_not_shared(address, size);
        }
    }

    /// Compares what the client has said of memory, or was just told, with what a mapping shows.
    fn compare(&self, address: u64, said: &[u8]) {
        if let Some((file, offset)) = self.readable_mapping(address) {
            let mut shown = vec![0; said.len()];
            if file.read(offset, &mut shown).is_ok() {
                self.sharing.compare(said, &shown);
            }
        }
    }

    /// The client refuses to be asked for an address. Returns whether a mapping is to do instead.
    fn refused(&self, address: u64) -> bool {
        self.readable_mapping(address).is_some() && self.sharing.refused()
    }

    /// The mapping of an address, if it can be read, and where in it that is.
    fn readable_mapping(&self, address: u64) -> Option<(&MappedFile, usize)> {
        let (start, region) = self.regions.range(..=address).next_back()?;
        let Provider::Mapped(file, _) = &region.provider else { return None };
        let inside = address - start < region.size && region.access.contains(DmaMapFlags::READ);
        inside.then_some((file, usize::try_from(address - start).ok()?))
    }

    /// Whether the region from that address on is mapped into this process.
    pub fn is_mapped(&self, address: u64) -> bool {
        let region = self.regions.get(&address);
        region.is_some_and(|region| matches!(region.provider, Provider::Mapped(..)))
    }

    /// Whether any region is mapped into this process.
    pub fn any_mapped(&self) -> bool {
        self.regions.values().any(|region| matches!(region.provider, Provider::Mapped(..)))
    }

    /// Where the bytes from `address` on are, and how many of `length` lie there in one piece.
    pub fn locate(
        &self,
        address: u64,
        length: usize,
        access: DmaMapFlags,
    ) -> Result<(Place<'_>, usize), DmaError> {
        let (start, region) = self
            .regions
            .range(..=address)
            .next_back()
            .filter(|(start, region)| address - *start < region.size)
            .ok_or(DmaError::NotMapped { address })?;
        if !region.access.contains(access) {
            return Err(DmaError::NotPermitted { address });
        }
        let offset = address - start;
        let length = usize::try_from(region.size - offset).unwrap_or(usize::MAX).min(length);
        match &region.provider {
            Provider::Mapped(file, _) if self.sharing.use_mappings() => {
                let offset =
                    usize::try_from(offset).map_err(|_| DmaError::NotMapped { address })?;
                Ok((Place::Mapped(file, offset), length))
            }
            Provider::Mapped(..) | Provider::ByMessage => Ok((Place::ByMessage, length)),
        }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: DmaMapFlags = DmaMapFlags::all();

    #[test]
    fn overlaps_are_refused_wherever_they_are() {
        let mut space = DmaSpace::default();
        space.map(0x2000, 0x2000, BOTH, None).unwrap();
        for (address, size) in
            [(0x2000, 0x2000), (0, u64::MAX), (0x1000, 0x1001), (0x3fff, 1), (0x2800, 0x100)]
        {
            let refused = space.map(address, size, BOTH, None);
            assert!(refused.is_err(), "{address:#x} {size:#x}");
        }
        space.map(0x1000, 0x1000, BOTH, None).unwrap();
        space.map(0x4000, 0x1000, BOTH, None).unwrap();
        let error = space.map(0x2000, 0x2000, BOTH, None).unwrap_err();
        assert_eq!(error.errno(), Errno::EXIST);
    }

    #[test]
    fn impossible_ranges_are_refused_with_their_errno() {
        let mut space = DmaSpace::default();
        let mut errno = |address, size, access| {
            space.map(address, size, access, None).map_err(|error| error.errno())
        };
        assert_eq!(errno(0, 0, BOTH), Err(Errno::INVAL));
        assert_eq!(errno(u64::MAX, 2, BOTH), Err(Errno::INVAL));
        assert_eq!(errno(0, 4096, DmaMapFlags::empty()), Err(Errno::INVAL));
        assert_eq!(errno(0, MAX_DMA_REGION_SIZE + 1, BOTH), Err(Errno::NOSPC));
        assert_eq!(errno(u64::MAX, 1, BOTH), Ok(()));
        assert_eq!(errno(0, MAX_DMA_REGION_SIZE, BOTH), Ok(()));
    }

    #[test]
    fn unmap_takes_whole_regions_only() {
        let mut space = DmaSpace::default();
        space.map(0x1000, 0x1000, BOTH, None).unwrap();
        space.map(0x2000, 0x1000, BOTH, None).unwrap();
        for (address, size) in [(0x1000, 0x800), (0x1800, 0x800), (0x1000, 0), (u64::MAX, 2)] {
            assert!(!space.unmap(address, size), "{address:#x} {size:#x}");
        }
        assert!(!space.unmap(0x1800, 0x1000) && !space.unmap(0, 0x2800));
        assert!(space.unmap(0x1000, 0x1000));
        assert!(space.unmap(0x1000, 0x1000), "nothing is left there");
        assert!(space.locate(0x2000, 1, BOTH).is_ok());
        assert!(space.unmap(0, u64::MAX));
        assert!(space.locate(0x2000, 1, BOTH).is_err());
    }

    #[test]
    fn permissions_are_kept() {
        let mut space = DmaSpace::default();
        space.map(0, 4096, DmaMapFlags::READ, None).unwrap();
        assert!(space.locate(0, 1, DmaMapFlags::READ).is_ok());
        let refused = space.locate(0, 1, DmaMapFlags::WRITE).unwrap_err();
        assert_eq!(refused, DmaError::NotPermitted { address: 0 });
    }

    proptest! {
        /// Against a map from every page to its region, kept by hand.
        #[test]
        fn regions_behave_like_a_page_table(
            operations in prop::collection::vec((any::<bool>(), 0_u64..32, 1_u64..8), 1..200),
            probes in prop::collection::vec(0_u64..48, 20),
        ) {
            let mut space = DmaSpace::default();
            let mut pages: BTreeMap<u64, u64> = BTreeMap::new();
            for (map, first, count) in operations {
                let range = first..first + count;
                let (address, size) = (first << 12, count << 12);
                if map {
                    let free = range.clone().all(|page| !pages.contains_key(&page));
                    prop_assert_eq!(space.map(address, size, BOTH, None).is_ok(), free);
                    if free {
                        pages.extend(range.map(|page| (page, first)));
                    }
                } else {
                    let cut = |start: &u64| {
                        let region = || pages.iter().filter(|(_, first)| *first == start);
                        let inside = region().filter(|(page, _)| range.contains(page)).count();
                        inside != 0 && inside != region().count()
                    };
                    let whole = !pages.values().any(cut);
                    prop_assert_eq!(space.unmap(address, size), whole);
                    if whole {
                        pages.retain(|page, _| !range.contains(page));
                    }
                }
            }
            for page in probes {
                let found = space.locate((page << 12) + 5, 1, BOTH).is_ok();
                prop_assert_eq!(found, pages.contains_key(&page));
            }
        }
    }
}
