//! Guest memory that other crates have mapped, made to survive its truncation as the kit's own does.
//!
//! rust-vmm's crates map a guest's memory files and touch them wherever they like. When the file
//! has been truncated, that raises SIGBUS, and the process ends with every other guest's device.
//! A [`WatchedMemory`] tells the kit's signal handler where such memory lies; the handler puts zero
//! pages over what is missing, and remembers that it did.

use std::ffi::c_void;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::mm::{Advice, madvise};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap};

use super::pages::{Pages, page_size};
use super::sigbus;
use super::watched_regions::{Region, lock};

/// A guest's memory as rust-vmm has mapped it; no core dump has it. Accesses, also
/// those of other crates, find zeros where its file has been truncated, as long as this value lives.
#[derive(Debug)]
pub struct WatchedMemory {
    memory: GuestMemoryMmap,
    truncated: Arc<AtomicBool>,
}

impl WatchedMemory {
    /// Watches all regions of a guest's memory.
    pub fn new(memory: GuestMemoryMmap) -> Self {
        sigbus::install();
        let truncated = Arc::new(AtomicBool::new(false));
        let regions = memory.iter().filter_map(|region| {
            if let Err(errno) = leave_out_of_core_dumps(region) {
                log::warn!("guest memory may get into a core dump: madvise: {errno}");
            }
            let file = region.file_offset()?.file();
            let page_size = usize::try_from(page_size(file.as_fd()).ok()?).ok()?;
            let pages = Pages::of_region(region, page_size)?;
            Some(Region { pages, truncated: Arc::clone(&truncated) })
        });
        let regions: Vec<Region> = regions.collect();
        lock().extend(regions);
        WatchedMemory { memory, truncated }
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
        lock().retain(|region| !Arc::ptr_eq(&region.truncated, &self.truncated));
    }
}

/// Guest memory is its guest's secret, and too much for a core dump.
fn leave_out_of_core_dumps(region: &GuestRegionMmap) -> Result<(), Errno> {
    // SAFETY: rust-vmm has mapped all of it; the advice changes nothing that is in the memory.
    unsafe { madvise(region.as_ptr().cast::<c_void>(), region.size(), Advice::LinuxDontDump) }
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
        let access =
            std::thread::spawn(move || behind.write_slice(&[7; 16], GuestAddress(0)).is_ok());
        assert!(access.join().unwrap());
    }

    #[test]
    fn watched_memory_is_left_out_of_core_dumps() {
        let memory = memory(&file());
        let start = memory.get_host_address(GuestAddress(0)).unwrap() as usize;
        assert!(crate::memory::mapped::is_dumped(start), "until it is watched");
        let _watched = WatchedMemory::new(memory);
        assert!(!crate::memory::mapped::is_dumped(start));
    }

    #[test]
    fn what_is_dropped_is_forgotten() {
        let watched = WatchedMemory::new(memory(&file()));
        let truncated = Arc::clone(&watched.truncated);
        let is_its_own = |region: &Region| Arc::ptr_eq(&region.truncated, &truncated);
        assert!(lock().iter().any(is_its_own));
        drop(watched);
        assert!(!lock().iter().any(is_its_own));
    }
}
