//! The only unsafe code here: the driver's ioctls and access to mapped registers.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io;
use rustix::ioctl::{Getter, IntegerSetter, Ioctl, IoctlOutput, Opcode, Setter, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::arch::asm;
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
pub trait Word: Copy {
    /// Bytes moved.
    const SIZE: usize = size_of::<Self>();
}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

/// The bytes that one load or store moves, where it is chosen at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 8 bits.
    One = 1,
    /// 16 bits.
    Two = 2,
    /// 32 bits.
    Four = 4,
    /// 64 bits.
    Eight = 8,
}

/// Loads by one instruction, which Rust promises for aligned words only.
///
/// # Safety
/// So many bytes have to be mapped there.
unsafe fn load(from: *const u8, size: Size) -> u64 {
    let value: u64;
    // SAFETY: they only read those bytes, and the upper halves of the registers are cleared by the
    // processor or by the instruction.
    unsafe {
        match size {
            Size::One => asm!("movzx {0:e}, byte ptr [{1}]", out(reg) value, in(reg) from),
            Size::Two => asm!("movzx {0:e}, word ptr [{1}]", out(reg) value, in(reg) from),
            Size::Four => asm!("mov {0:e}, dword ptr [{1}]", out(reg) value, in(reg) from),
            Size::Eight => asm!("mov {0}, qword ptr [{1}]", out(reg) value, in(reg) from),
        }
    }
    value
}

/// Stores by one instruction, likewise.
///
/// # Safety
/// So many bytes have to be mapped there, and no reference to them may exist.
unsafe fn store(to: *mut u8, size: Size, value: u64) {
    // SAFETY: they only write those bytes.
    unsafe {
        match size {
            Size::One => asm!("mov byte ptr [{0}], {1:l}", in(reg) to, in(reg_abcd) value),
            Size::Two => asm!("mov word ptr [{0}], {1:x}", in(reg) to, in(reg) value),
            Size::Four => asm!("mov dword ptr [{0}], {1:e}", in(reg) to, in(reg) value),
            Size::Eight => asm!("mov qword ptr [{0}], {1}", in(reg) to, in(reg) value),
        }
    }
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

    /// One load of a word at any offset. What becomes of an unaligned one is the machine's affair.
    ///
    /// # Panics
    /// When the word is outside of the mapping.
    pub fn read_anywhere(&self, offset: usize, size: Size) -> u64 {
        let start = self.at(offset, size as usize);
        // SAFETY: at() checked the bounds, and the mapping lives as long as self; the processor
        // does not mind unaligned loads.
        unsafe { load(start, size) }
    }

    /// One store of a word at any offset, likewise.
    ///
    /// # Panics
    /// When the word is outside of the mapping.
    pub fn write_anywhere(&self, offset: usize, size: Size, value: u64) {
        let start = self.at(offset, size as usize);
        // SAFETY: as in read_anywhere(); no Rust reference to this memory exists.
        unsafe { store(start, size, value) }
    }

    fn word<T: Word>(&self, offset: usize) -> *mut T {
        assert!(offset % T::SIZE == 0, "unaligned register access");
        self.at(offset, T::SIZE).cast()
    }

    fn at(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset <= self.size && size <= self.size - offset, "outside of the BAR");
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
