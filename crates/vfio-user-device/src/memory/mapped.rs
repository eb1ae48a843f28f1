//! A region of guest memory that came with a file descriptor, mapped into this process.
//!
//! The guest writes to the same pages at the same time. Nothing here makes a reference into them:
//! bytes are copied out and in by volatile accesses, and looked at only in their private copy.
//!
//! Rings in guest memory have indexes of 16 bits that the guest changes while they are copied. In a
//! copy of an even number of bytes from an even address, each is the old or the new one, never half
//! of each: memcpy(3) moves more than a byte at once wherever it can, and a test keeps an eye on it.
//! (It copies the last bytes of an odd number so that they overlap those before, and an index may
//! come out in halves.)

use std::cell::Cell;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use vm_memory::{Bytes, VolatileSlice};

use super::mapping::Mapping;
use super::pages::{Pages, page_size};
use super::sigbus::guarded;
use crate::protocol::wire::DmaMapFlags;

/// A shared mapping of a part of a file.
#[derive(Debug)]
pub(crate) struct MappedFile {
    /// Whole pages, in which the part lies.
    pages: Mapping,
    page_size: usize,
    /// Bytes of the first page before the part.
    before: usize,
    /// Bytes of the part.
    length: usize,
    /// Bytes at the start that no access has found truncated.
    intact: Cell<usize>,
}

/// The memory behind a mapping is gone: its file was truncated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Truncated;

impl MappedFile {
    /// Maps `length` bytes from `offset` of the file. The descriptor is not needed afterwards.
    ///
    /// # Errors
    /// EINVAL if a regular file has fewer bytes than that, else what mmap(2) says.
    pub fn new(
        file: BorrowedFd<'_>,
        offset: u64,
        length: u64,
        access: DmaMapFlags,
    ) -> Result<Self, Errno> {
        check_size(file, offset, length)?;
        let page_size = page_size(file)?;
        // mmap(2) wants whole pages, and the pages of a guest's memory may be larger than a region.
        let before = offset % page_size;
        let whole = (before + length).checked_next_multiple_of(page_size).ok_or(Errno::OVERFLOW)?;
        let size = |bytes: u64| usize::try_from(bytes).map_err(|_| Errno::NOMEM);
        let (page_size, before) = (size(page_size)?, size(before)?);
        // Guest memory is its guest's secret, and too much for a core dump, which has no mapping.
        let write = access.contains(DmaMapFlags::WRITE);
        let pages = Mapping::new(file, offset - before as u64, size(whole)?, write);
        let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL);
        let pages = pages.map_err(errno)?;
        let length = size(length)?;
        Ok(MappedFile { pages, page_size, before, length, intact: Cell::new(length) })
    }

    /// Size of the mapping in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Copies `buffer.len()` bytes from `offset` on out of the mapping.
    ///
    /// # Errors
    /// [`Truncated`], also when the range reaches past the mapping.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<(), Truncated> {
        let length = buffer.len();
        self.copy(offset, length, |slice| slice.read_slice(buffer, 0).is_ok())
    }

    /// Copies `data` into the mapping from `offset` on.
    ///
    /// # Errors
    /// As [`MappedFile::read`].
    pub fn write(&self, offset: usize, data: &[u8]) -> Result<(), Truncated> {
        self.copy(offset, data.len(), |slice| slice.write_slice(data, 0).is_ok())
    }

    fn copy(
        &self,
        offset: usize,
        length: usize,
        copy: impl FnOnce(VolatileSlice<'_>) -> bool,
    ) -> Result<(), Truncated> {
        let end = offset.checked_add(length).ok_or(Truncated)?;
        if end > self.intact.get() {
            // Past the region, or pages that nothing shares lie there since.
            return Err(Truncated);
        }
        let whole = self.pages.whole();
        let part = whole.subslice(self.before + offset, length).map_err(|_| Truncated)?;
        let pages = Pages::of_copy(&part, self.page_size);
        let mut copied = false;
        if let Some(missing) = guarded(pages, || copied = copy(part)) {
            let first = whole.ptr_guard().as_ptr() as usize + self.before;
            self.intact.set((missing & !(self.page_size - 1)).saturating_sub(first));
            return Err(Truncated);
        }
        if copied { Ok(()) } else { Err(Truncated) }
    }
}

/// Checks that a regular file has all of a part.
pub(super) fn check_size(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Errno> {
    let status = fstat(file)?;
    let end = offset.checked_add(length).ok_or(Errno::OVERFLOW)?;
    let is_regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
    if is_regular && u64::try_from(status.st_size).is_ok_and(|size| size < end) {
        return Err(Errno::INVAL);
    }
    Ok(())
}

/// Whether the kernel would put the page at an address into a core dump.
#[cfg(test)]
pub(super) fn is_dumped(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut found = false;
    for line in maps.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let number = |text| usize::from_str_radix(text, 16).ok();
        if let Some((start, end)) = range.and_then(|(start, end)| number(start).zip(number(end))) {
            found = (start..end).contains(&address);
        } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| found) {
            return !flags.split_whitespace().any(|flag| flag == "dd");
        }
    }
    panic!("nothing is mapped at {address:#x}")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    const BOTH: DmaMapFlags = DmaMapFlags::all();

    fn file(size: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        file
    }

    #[test]
    fn what_is_written_is_in_the_file() {
        use std::os::unix::fs::FileExt;
        let file = file(8192);
        let mapped = MappedFile::new(file.as_fd(), 4096, 4096, BOTH).unwrap();
        mapped.write(10, b"hello").unwrap();
        let mut bytes = [0; 5];
        file.read_exact_at(&mut bytes, 4106).unwrap();
        assert_eq!(&bytes, b"hello");
        file.write_all_at(b"J", 4106).unwrap();
        mapped.read(10, &mut bytes).unwrap();
        assert_eq!(&bytes, b"Jello");
    }

    #[test]
    fn guest_memory_is_left_out_of_core_dumps() {
        let mapped = MappedFile::new(file(3 * 4096).as_fd(), 4096, 8192, BOTH).unwrap();
        let first = mapped.pages.whole().ptr_guard().as_ptr() as usize;
        assert!(!is_dumped(first) && !is_dumped(first + 8191));
        assert!(is_dumped((&raw const mapped) as usize), "this process itself");
    }

    #[test]
    fn aligned_numbers_of_16_bits_are_copied_whole() {
        use std::sync::atomic::{AtomicBool, Ordering};
        const FIELD: usize = 10;
        let file = file(4096);
        let map = || MappedFile::new(file.as_fd(), 0, 4096, BOTH).unwrap();
        let (mapped, writer, done) = (map(), map(), AtomicBool::new(false));
        let copies: Vec<u16> = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (writer, mut value) = (writer, 0_u16);
                while !done.load(Ordering::Relaxed) {
                    value = !value;
                    // An error ends it; then the copies are all the same.
                    if writer.write(FIELD, &value.to_ne_bytes()).is_err() {
                        break;
                    }
                }
            });
            let copy = |length| {
                let mut bytes = vec![0; length];
                let read = mapped.read(0, &mut bytes);
                read.map_or(0, |()| u16::from_ne_bytes([bytes[FIELD], bytes[FIELD + 1]]))
            };
            let copies = (FIELD + 2..200).step_by(2).cycle().take(200_000).map(copy).collect();
            done.store(true, Ordering::Relaxed);
            copies
        });
        assert!(copies.iter().all(|value| [0, 0xffff].contains(value)), "in halves");
        assert!(copies.contains(&0) && copies.contains(&0xffff), "the writer was at work");
    }

    #[test]
    fn a_part_may_begin_and_end_within_pages() {
        use std::os::unix::fs::FileExt;
        let file = file(3 * 4096);
        let mapped = MappedFile::new(file.as_fd(), 4000, 5000, BOTH).unwrap();
        mapped.write(0, b"first").unwrap();
        mapped.write(4996, b"last").unwrap();
        let mut bytes = [0; 5];
        file.read_exact_at(&mut bytes, 4000).unwrap();
        assert_eq!(&bytes, b"first");
        file.read_exact_at(&mut bytes[..4], 8996).unwrap();
        assert_eq!(&bytes[..4], b"last");
        assert!(mapped.write(4997, b"last").is_err());
    }

    #[test]
    fn parts_of_huge_pages_are_mapped_and_may_be_truncated() {
        use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
        const HUGE: u64 = 2 << 20;
        let file = memfd_create("huge", MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB).unwrap();
        ftruncate(&file, 2 * HUGE).unwrap();
        let mapped = match MappedFile::new(file.as_fd(), 0xc0000, HUGE, BOTH) {
            Err(Errno::NOMEM) => {
                eprintln!("not tested: this system has no huge pages (vm.nr_hugepages)");
                return;
            }
            mapped => mapped.unwrap(),
        };
        mapped.write(0, b"x").unwrap();
        ftruncate(&file, 0).unwrap();
        assert_eq!(mapped.write(0, b"x"), Err(Truncated));
        assert_eq!(mapped.read(HUGE as usize - 1, &mut [0; 1]), Err(Truncated));
    }

    #[test]
    fn ranges_past_the_mapping_are_rejected() {
        let mapped = MappedFile::new(file(4096).as_fd(), 0, 4096, BOTH).unwrap();
        assert!(mapped.read(4095, &mut [0; 2]).is_err());
        assert!(mapped.write(usize::MAX, &[0; 2]).is_err());
        assert!(mapped.read(4096, &mut []).is_ok());
    }

    #[test]
    fn files_too_small_for_the_region_are_rejected() {
        let file = file(4096);
        let refused = MappedFile::new(file.as_fd(), 0, 8192, BOTH).unwrap_err();
        assert_eq!(refused, Errno::INVAL);
        let refused = MappedFile::new(file.as_fd(), u64::MAX, 4096, BOTH).unwrap_err();
        assert_eq!(refused, Errno::OVERFLOW);
    }

    #[test]
    fn a_truncated_file_is_an_error_and_not_the_end_of_the_process() {
        let page = rustix::param::page_size();
        let file = file(4 * page as u64);
        let mapped = MappedFile::new(file.as_fd(), 0, 4 * page as u64, BOTH).unwrap();
        file.set_len(page as u64).unwrap();
        let mut bytes = vec![1; 2 * page];
        assert_eq!(mapped.read(0, &mut bytes), Err(Truncated));
        assert_eq!(mapped.write(3 * page, b"x"), Err(Truncated));
        assert_eq!(mapped.write(3 * page, b"x"), Err(Truncated), "not the zero page either");
        assert_eq!(mapped.read(page, &mut [0; 1]), Err(Truncated));
        // What is still there can still be reached.
        assert_eq!(mapped.write(0, b"x"), Ok(()));
    }
}
