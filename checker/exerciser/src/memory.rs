//! The only unsafe code here: memory that is bad in a certain way, and calls that are given it.

use std::ptr::null_mut;

use exerciser::{Argument, BUFFER, POISON};
use my_rng_tester::sys;
use rustix::fd::BorrowedFd;
use rustix::io;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::param::page_size;

/// In the kernel's half of the address space: where its map of all memory usually begins.
const KERNEL: usize = if cfg!(target_arch = "x86_64") {
    0xffff_8880_0000_0000
} else {
    // On arm64 with addresses of 48 bits; elsewhere it is in the kernel's half as well.
    0xffff_0000_0000_0000
};

/// The argument of one ioctl. What it maps stays so until the process ends: a driver may keep the
/// address.
#[derive(Debug)]
pub struct Memory {
    address: usize,
    readable: bool,
}

impl Memory {
    /// What an argument describes.
    pub fn new(argument: Argument) -> io::Result<Self> {
        let bad = |address| Self { address, readable: false };
        let writable = ProtFlags::READ | ProtFlags::WRITE;
        Ok(match argument {
            Argument::Null => bad(0),
            Argument::Kernel => bad(KERNEL),
            Argument::Unmapped => {
                let Self { address, .. } = Self::map(writable)?;
                let start = std::ptr::with_exposed_provenance_mut(address);
                // SAFETY: this page was just mapped, and no pointer into it is left.
                unsafe { munmap(start, page_size())? };
                bad(address)
            }
            Argument::ReadOnly => Self::map(ProtFlags::READ)?,
            Argument::Untouched => Self::map(writable)?,
            Argument::Empty => {
                let memory = Self::map(writable)?;
                memory.fill([POISON; BUFFER]);
                memory
            }
            Argument::Holding { value, size } => {
                let mut bytes = [POISON; BUFFER];
                let size = size.min(size_of::<u64>());
                bytes[..size].copy_from_slice(&value.to_le_bytes()[..size]);
                let memory = Self::map(writable)?;
                memory.fill(bytes);
                memory
            }
            Argument::AtPageEnd { value, size } => Self::at_page_end(value, size)?,
        })
    }

    /// The last bytes of a page, with one behind it that cannot be accessed.
    fn at_page_end(value: u64, size: usize) -> io::Result<Self> {
        let (page, size) = (page_size(), size.min(size_of::<u64>()));
        // SAFETY: the kernel picks the place, so that no other memory is replaced.
        let start =
            unsafe { mmap_anonymous(null_mut(), 2 * page, ProtFlags::empty(), MapFlags::PRIVATE)? };
        let writable = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the first of the two pages that were just mapped, which nothing else has.
        unsafe { mprotect(start, page, writable)? };
        let address = start.expose_provenance() + page - size;
        let first: *mut u8 = std::ptr::with_exposed_provenance_mut(address);
        for (at, byte) in value.to_le_bytes()[..size].iter().enumerate() {
            // SAFETY: inside of the first page, of which `size` bytes are left from `address` on.
            unsafe { first.add(at).write_volatile(*byte) }
        }
        // An array of BUFFER bytes cannot be read there.
        Ok(Self { address, readable: false })
    }

    /// Maps a page.
    fn map(protection: ProtFlags) -> io::Result<Self> {
        let page = page_size();
        // SAFETY: the kernel picks the place, so that no other memory is replaced.
        let start = unsafe { mmap_anonymous(null_mut(), page, protection, MapFlags::PRIVATE)? };
        Ok(Self { address: start.expose_provenance(), readable: true })
    }

    fn fill(&self, bytes: [u8; BUFFER]) {
        let start: *mut [u8; BUFFER] = std::ptr::with_exposed_provenance_mut(self.address);
        // SAFETY: it is called for memory of this process that can be written and that no
        // reference leads to.
        unsafe { start.write_volatile(bytes) }
    }

    /// What is in it, when it can be read.
    pub fn read(&self) -> Option<[u8; BUFFER]> {
        let start: *const [u8; BUFFER] = std::ptr::with_exposed_provenance(self.address);
        // SAFETY: readable memory is mapped, and a page is longer than the array.
        self.readable.then(|| unsafe { start.read_volatile() })
    }

    /// Makes an ioctl with its address.
    pub fn ioctl(&self, device: BorrowedFd<'_>, number: u32) -> i32 {
        // SAFETY: the address is one that no reference of this program leads to. A driver that
        // writes beyond what it was given can do so anyway; then the process ends, or lies about
        // that driver.
        let result = unsafe { sys::ioctl_any(device, number, self.address) };
        result.unwrap_or_else(|errno| -errno.raw_os_error())
    }
}
