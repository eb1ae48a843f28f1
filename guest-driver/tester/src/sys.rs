//! The unsafe code here, with that in `instruction`: the driver's ioctls and access to mapped
//! registers.

pub use crate::instruction::Size;
use crate::instruction::{load, store};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io;
use rustix::ioctl::{Getter, IntegerSetter, Ioctl, IoctlOutput, Opcode, Setter, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
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

/// An ioctl with any number and any argument. Returns what the driver does.
///
/// # Safety
/// When the driver takes the argument for an address, it may read and write what is there: no more
/// than the number says if it is a good one, anything if it is not.
pub unsafe fn ioctl_any(device: BorrowedFd<'_>, number: u32, argument: usize) -> io::Result<i32> {
    // SAFETY: the caller answers for what the driver does with the argument.
    unsafe { ioctl(device, AnyIoctl { number, argument }) }
}

struct AnyIoctl {
    number: u32,
    argument: usize,
}

// SAFETY: number and argument are passed on as they are, and the result is not interpreted.
unsafe impl Ioctl for AnyIoctl {
    type Output = i32;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        Opcode::from(self.number)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::with_exposed_provenance_mut(self.argument)
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> io::Result<i32> {
        Ok(output)
    }
}

/// A type that one load or store moves.
pub trait Word: Copy + Into<u64> + TryFrom<u64> {
    /// Bytes moved.
    const SIZE: usize = Self::MOVED as usize;
    /// The same, to choose an instruction by.
    const MOVED: Size;
}

impl Word for u8 {
    const MOVED: Size = Size::One;
}

impl Word for u16 {
    const MOVED: Size = Size::Two;
}

impl Word for u32 {
    const MOVED: Size = Size::Four;
}

impl Word for u64 {
    const MOVED: Size = Size::Eight;
}

/// Whether one load or store can be made at an offset of a device's registers. On x86-64 each can;
/// elsewhere only those at multiples of the size.
#[must_use]
pub fn can_access(offset: usize, size: Size) -> bool {
    cfg!(target_arch = "x86_64") || offset % size as usize == 0
}

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
        assert!(offset % T::SIZE == 0, "unaligned register access");
        let loaded = T::try_from(self.read_anywhere(offset, T::MOVED));
        loaded.ok().expect("what is above the loaded bytes is zero")
    }

    /// One store of a word.
    ///
    /// # Panics
    /// When the word is outside of the mapping or not aligned.
    pub fn write<T: Word>(&self, offset: usize, value: T) {
        assert!(offset % T::SIZE == 0, "unaligned register access");
        self.write_anywhere(offset, T::MOVED, value.into());
    }

    /// One load of a word at an offset that [`can_access`] allows. What becomes of an unaligned one
    /// is the machine's affair.
    ///
    /// # Panics
    /// When the word is outside of the mapping.
    pub fn read_anywhere(&self, offset: usize, size: Size) -> u64 {
        let start = self.at(offset, size);
        // SAFETY: at() checked bounds and alignment, and the mapping lives as long as self.
        unsafe { load(start, size) }
    }

    /// One store of a word at any offset, likewise.
    ///
    /// # Panics
    /// When the word is outside of the mapping.
    pub fn write_anywhere(&self, offset: usize, size: Size, value: u64) {
        let start = self.at(offset, size);
        // SAFETY: as in read_anywhere(); no Rust reference to this memory exists.
        unsafe { store(start, size, value) }
    }

    fn at(&self, offset: usize, size: Size) -> *mut u8 {
        let bytes = size as usize;
        assert!(offset <= self.size && bytes <= self.size - offset, "outside of the BAR");
        assert!(can_access(offset, size), "unaligned access, which this processor cannot make");
        self.start.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by new() with this size, and no pointer into it is left. It cannot fail
        // for such a range, and nothing could be done if it did.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}
