//! Pages of mapped files: their size, and zero pages in place of missing ones.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;

use rustix::fs::fstatfs;
use rustix::io::Errno;
use vm_memory::{GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress, VolatileSlice};

/// File system type of huge pages, `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGETLBFS: u64 = 0x9584_58f6;

/// Addresses in a shared mapping of a file, which is there as long as this value is used. Only
/// volatile copies look into it: they make no assumption about what the memory holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    start: usize,
    end: usize,
    /// Size of the pages there.
    page_size: usize,
}

impl Pages {
    /// None at all.
    pub const NONE: Pages = Pages { start: 0, end: 0, page_size: 1 };

    /// Those that a copy may touch.
    pub fn of_copy(slice: &VolatileSlice<'_>, page_size: usize) -> Self {
        let start = slice.ptr_guard().as_ptr() as usize;
        Pages { start, end: start + slice.len(), page_size }
    }

    /// Those of a region that rust-vmm's crates have mapped.
    pub fn of_region(region: &GuestRegionMmap, page_size: usize) -> Option<Self> {
        let start = region.get_host_address(MemoryRegionAddress(0)).ok()? as usize;
        let end = start.checked_add(usize::try_from(region.len()).ok()?)?;
        Some(Pages { start, end, page_size })
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// Puts zero pages over everything from the page of `address`, which is one of them, to the
    /// last one. Returns whether that was possible.
    pub fn replace_from(&self, address: usize) -> bool {
        let first = address & !(self.page_size - 1);
        let end = (self.end + self.page_size - 1) & !(self.page_size - 1);
        // SAFETY: all of it lies in a mapping that stays there meanwhile, and that is only accessed
        // in ways that do not depend on what it holds (see `Pages`). mmap is a plain system call.
        let mapped = unsafe {
            libc::mmap(
                first as *mut c_void,
                end - first,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        mapped != libc::MAP_FAILED
    }
}

/// Size of the pages that a file is mapped by, in bytes.
pub(super) fn page_size(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    let status = fstatfs(file)?;
    let plain = rustix::param::page_size() as u64;
    if u64::try_from(status.f_type) != Ok(HUGETLBFS) {
        return Ok(plain);
    }
    let huge = u64::try_from(status.f_bsize).unwrap_or(plain);
    if huge.is_power_of_two() { Ok(huge) } else { Err(Errno::INVAL) }
}
