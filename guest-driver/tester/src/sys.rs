//! The only unsafe code of the tester: the driver's ioctls and access to mapped registers.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io;
use rustix::ioctl::{Getter, IntegerSetter, Opcode, Setter, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ptr::NonNull;

/// `_IOR('q', 1, unsigned int)`: draws a number.
pub const IOCTL_RAND: Opcode = opcode::read::<u32>(b'q', 1);
/// `_IOW('q', 1, unsigned int)`: seeds the generator.
pub const IOCTL_SEED: Opcode = opcode::write::<u32>(b'q', 1);

// The published values: programs exist that were built with them.
const _: () = assert!(IOCTL_RAND == 0x8004_7101 && IOCTL_SEED == 0x4004_7101);

/// Draws a number.
pub fn random(device: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: the driver stores an unsigned int when it reports success, nothing else.
    unsafe { ioctl(device, Getter::<IOCTL_RAND, u32>::new()) }
}

/// Seeds the generator.
pub fn seed(device: BorrowedFd<'_>, seed: u32) -> io::Result<()> {
    // SAFETY: the driver only reads an unsigned int.
    unsafe { ioctl(device, Setter::<IOCTL_SEED, u32>::new(seed)) }
}

/// An ioctl with address 0 as its argument, where nothing is mapped.
pub fn ioctl_on_null<const OPCODE: Opcode>(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the kernel checks the address; nothing of this process lies there.
    unsafe { ioctl(device, IntegerSetter::<OPCODE>::new_usize(0)) }
}

/// A type that one load or store moves.
pub trait Word: Copy {
    /// Bytes moved.
    const SIZE: usize = size_of::<Self>();
}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

/// Device registers mapped into this process.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    size: usize,
}

impl Mapping {
    /// Maps the first `size` bytes of a PCI resource file.
    pub fn new(file: impl AsFd, size: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel picks the place, so that no other memory is replaced.
        let start =
            unsafe { mmap(std::ptr::null_mut(), size, protection, MapFlags::SHARED, file, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::Errno::NOMEM)?;
        Ok(Self { start, size })
    }

    /// One load of a word.
    ///
    /// # Panics
    /// When the word is outside of the mapping or not aligned.
    pub fn read<T: Word>(&self, offset: usize) -> T {
        let word = self.word::<T>(offset);
        // SAFETY: word() checked bounds and alignment, the mapping lives as long as self, and any
        // bytes are a valid T (Word is only implemented for integers).
        unsafe { word.read_volatile() }
    }

    /// One store of a word.
    ///
    /// # Panics
    /// When the word is outside of the mapping or not aligned.
    pub fn write<T: Word>(&self, offset: usize, value: T) {
        let word = self.word::<T>(offset);
        // SAFETY: as in read(); no Rust reference to this memory exists.
        unsafe { word.write_volatile(value) }
    }

    fn word<T: Word>(&self, offset: usize) -> *mut T {
        assert!(offset % T::SIZE == 0, "unaligned register access");
        assert!(offset <= self.size && T::SIZE <= self.size - offset, "outside of the BAR");
        self.start.as_ptr().wrapping_add(offset).cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by new() with this size, and no pointer into it is left. It cannot fail
        // for such a range, and nothing could be done if it did.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}
