//! How much guest memory this process maps, and how many descriptors of it are kept.
//!
//! A process has a limited number of maps (65530, unless vm.max_map_count says something else) and
//! 128 TiB of address space; a guest that announces regions without end would leave none for the
//! other guests of the process, not even for the stack of a thread. So each guest may have some of
//! both in any case, and there is a common store for those with more. A region that finds none left
//! is reached by messages, which is slow and works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Maps, and bytes of address space.
#[derive(Debug)]
struct Amount {
    maps: AtomicU64,
    bytes: AtomicU64,
}

/// What is mapped, and how much may be.
#[derive(Debug)]
pub(super) struct Budget {
    mapped: Amount,
    /// Most maps and bytes that one guest may have in any case: more than a QEMU has, unless it has
    /// a virtual IOMMU.
    of_one: (u64, u64),
    /// Most maps and bytes of all guests up to which one may have more than that.
    of_all: (u64, u64),
}

/// What this process maps.
pub(super) static MAPS: Budget = Budget::new((16, 64 << 30), (32 << 10, 32 << 40));

/// Of which files this process keeps the descriptor.
pub(super) static FILES: Budget = Budget::new((16, u64::MAX), (256, u64::MAX));

/// Regions that are read and written by a descriptor. They take no address space.
pub(super) static DESCRIPTORS: Budget = Budget::new((16, u64::MAX), (256, u64::MAX));

/// One guest's part.
#[derive(Debug)]
pub(super) struct Share {
    budget: &'static Budget,
    own: Arc<Amount>,
}

/// Room for one map, until the value goes.
#[derive(Debug)]
pub(super) struct Room {
    budget: &'static Budget,
    own: Arc<Amount>,
    bytes: u64,
}

impl Budget {
    const fn new(of_one: (u64, u64), of_all: (u64, u64)) -> Self {
        Budget { mapped: Amount::nothing(), of_one, of_all }
    }
}

impl Share {
    /// A new guest's part.
    pub fn of(budget: &'static Budget) -> Self {
        Share { budget, own: Arc::new(Amount::nothing()) }
    }

    /// Room for one more map of that size, if there is any.
    pub fn room_for(&self, bytes: u64) -> Option<Room> {
        let Share { budget, own } = self;
        // Two guests that ask at the same moment may both get the last room: the limits are far
        // from what the system has.
        let fits = own.fits(bytes, budget.of_one) || budget.mapped.fits(bytes, budget.of_all);
        fits.then(|| {
            own.add(bytes);
            budget.mapped.add(bytes);
            Room { budget, own: Arc::clone(own), bytes }
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.own.subtract(self.bytes);
        self.budget.mapped.subtract(self.bytes);
    }
}

impl Amount {
    const fn nothing() -> Self {
        Amount { maps: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    fn fits(&self, bytes: u64, (maps, most_bytes): (u64, u64)) -> bool {
        let sum = self.bytes.load(Relaxed).saturating_add(bytes);
        self.maps.load(Relaxed) < maps && sum <= most_bytes
    }

    fn add(&self, bytes: u64) {
        self.maps.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    fn subtract(&self, bytes: u64) {
        self.maps.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest of a process in which one may have 2 maps of 10 bytes, and all of them 4 of 100.
    fn guests() -> [Share; 2] {
        let budget: &Budget = Box::leak(Box::new(Budget::new((2, 10), (4, 100))));
        [(); 2].map(|()| Share::of(budget))
    }

    #[test]
    fn a_guest_that_takes_all_leaves_the_others_their_own() {
        let [greedy, modest] = guests();
        let taken: Vec<_> = (0..10).filter_map(|_| greedy.room_for(1)).collect();
        assert_eq!(taken.len(), 4);
        let own: Vec<_> = (0..10).filter_map(|_| modest.room_for(1)).collect();
        assert_eq!(own.len(), 2);
        drop(taken);
        assert!(modest.room_for(1).is_some(), "what was given back is there for all");
    }

    #[test]
    fn address_space_runs_out_as_maps_do() {
        let [greedy, modest] = guests();
        let _taken = greedy.room_for(100).unwrap();
        assert!(greedy.room_for(1).is_none());
        assert!(modest.room_for(11).is_none());
        assert!(modest.room_for(10).is_some());
    }
}
