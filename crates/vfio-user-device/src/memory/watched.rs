//! Guest memory that other crates have mapped, made to survive its truncation as the kit's own does.
//!
//! rust-vmm's crates map a guest's memory files and touch them wherever they like. When the file
//! has been truncated, that raises SIGBUS, and the process ends with every other guest's device.
//! A [`WatchedMemory`] tells the kit's signal handler where such memory lies; the handler puts zero
//! pages over what is missing, and remembers that it did.

use std::ffi::c_void;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress};

use super::mapped::{leave_out_of_core_dumps, page_size};
use super::sigbus;

/// All memory of this kind in the process. The signal handler takes the lock, too: it runs in a
/// thread that has just touched guest memory, which nobody does while he holds the lock.
static REGIONS: Mutex<Vec<Region>> = Mutex::new(Vec::new());

/// How often the signal handler tries to take the lock.
const ATTEMPTS: usize = 1_000_000;

/// A mapping.
#[derive(Debug)]
struct Region {
    /// Which [`WatchedMemory`] it belongs to.
    owner: usize,
    /// Its first address, and the one behind it.
    start: usize,
    end: usize,
    page_size: usize,
    /// Its owner's.
    truncated: Arc<AtomicBool>,
}

/// A guest's memory as rust-vmm has mapped it; no core dump has it. Whoever accesses it, also behind the kit's back,
/// finds zeros where its file has been truncated, as long as this value lives.
#[derive(Debug)]
pub struct WatchedMemory {
    memory: GuestMemoryMmap,
    id: usize,
    truncated: Arc<AtomicBool>,
}

impl WatchedMemory {
    /// Watches all regions of a guest's memory.
    pub fn new(memory: GuestMemoryMmap) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        sigbus::install();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let truncated = Arc::new(AtomicBool::new(false));
        let regions = memory.iter().filter_map(|region| {
            let start = region.get_host_address(MemoryRegionAddress(0)).ok()? as usize;
            let length = usize::try_from(region.len()).ok()?;
            // SAFETY: rust-vmm has mapped all of it, and `memory` keeps it.
            if let Err(errno) = unsafe { leave_out_of_core_dumps(start as *mut c_void, length) } {
                log::warn!("guest memory may get into a core dump: madvise: {errno}");
            }
            let file = region.file_offset()?.file();
            let page_size = usize::try_from(page_size(file.as_fd()).ok()?).ok()?;
            let end = start.checked_add(length)?;
            let truncated = Arc::clone(&truncated);
            Some(Region { owner: id, start, end, page_size, truncated })
        });
        let regions: Vec<Region> = regions.collect();
        lock().extend(regions);
        WatchedMemory { memory, id, truncated }
    }

    /// The memory itself.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Whether an access has found a part of it missing.
    pub fn truncated(&self) -> bool {
        self.truncated.load(Ordering::Relaxed)
    }
}

impl Drop for WatchedMemory {
    fn drop(&mut self) {
        // The mappings are there still: they go with `memory`, after this.
        lock().retain(|region| region.owner != self.id);
    }
}

fn lock() -> MutexGuard<'static, Vec<Region>> {
    REGIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For the signal handler: puts zero pages over watched memory from this address to the end of its
/// region. Returns whether it did.
pub(super) fn cover(address: usize) -> bool {
    // Only memory that is broken itself raises SIGBUS in a thread that has the lock already. That
    // one shall end, and not wait for itself.
    let Some(regions) = (0..ATTEMPTS).find_map(|_| {
        let locked = REGIONS.try_lock().ok();
        if locked.is_none() {
            thread::yield_now();
        }
        locked
    }) else {
        return false;
    };
    let at_fault = |region: &&Region| (region.start..region.end).contains(&address);
    let Some(region) = regions.iter().find(at_fault) else {
        return false;
    };
    region.truncated.store(true, Ordering::Relaxed);
    // SAFETY: the region is a shared mapping of a file, which is there as long as its owner has it
    // in the table. rust-vmm makes no reference into such memory, only volatile accesses, since the
    // guest changes it at any time anyway.
    unsafe { sigbus::replace_pages(address as *mut c_void, region.end, region.page_size) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use vm_memory::{Bytes, FileOffset, GuestAddress};

    use super::*;

    const PAGE: u64 = 4096;
    const SIZE: u64 = 8 * PAGE;

    fn memory(file: &File) -> GuestMemoryMmap {
        let size = usize::try_from(SIZE).unwrap();
        let file = FileOffset::new(file.try_clone().unwrap(), 0);
        GuestMemoryMmap::from_ranges_with_files([(GuestAddress(0), size, Some(file))]).unwrap()
    }

    fn file() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        file
    }

    #[test]
    fn truncated_memory_is_zeros_and_says_so() {
        let file = file();
        let watched = WatchedMemory::new(memory(&file));
        let other = WatchedMemory::new(memory(&self::file()));
        watched.memory().write_slice(&[7; 16], GuestAddress(5 * PAGE)).unwrap();
        assert!(!watched.truncated());
        file.set_len(2 * PAGE).unwrap();
        let mut bytes = [1; 16];
        watched.memory().read_slice(&mut bytes, GuestAddress(5 * PAGE)).unwrap();
        assert_eq!(bytes, [0; 16]);
        assert!(watched.truncated());
        watched.memory().write_slice(&[7; 16], GuestAddress(3 * PAGE)).unwrap();
        watched.memory().write_slice(&[7; 16], GuestAddress(PAGE)).unwrap();
        assert!(!other.truncated());
    }

    #[test]
    fn accesses_behind_the_kits_back_survive_too() {
        let file = file();
        let behind = memory(&file);
        let _watched = WatchedMemory::new(behind.clone());
        file.set_len(0).unwrap();
        let access = thread::spawn(move || behind.write_slice(&[7; 16], GuestAddress(0)).is_ok());
        assert!(access.join().unwrap());
    }

    #[test]
    fn watched_memory_is_left_out_of_core_dumps() {
        let memory = memory(&file());
        let start = memory.get_host_address(GuestAddress(0)).unwrap() as usize;
        assert!(crate::dma::mapped::is_dumped(start), "until it is watched");
        let _watched = WatchedMemory::new(memory);
        assert!(!crate::dma::mapped::is_dumped(start));
    }

    #[test]
    fn what_is_dropped_is_forgotten() {
        let watched = WatchedMemory::new(memory(&file()));
        let id = watched.id;
        assert!(lock().iter().any(|region| region.owner == id));
        drop(watched);
        assert!(!lock().iter().any(|region| region.owner == id));
    }
}
