//! Loads and stores that are one instruction each, without a change of the address's register: a
//! hypervisor may have to carry the instruction out, and can do only the plain ones.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::arch::asm;

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

/// Loads so many bytes, which Rust promises to do at once for aligned words only. What is above them
/// is zero.
///
/// # Safety
/// So many bytes have to be mapped there, at an address that [`can_access`](crate::sys::can_access)
/// allows.
#[cfg(target_arch = "x86_64")]
pub unsafe fn load(from: *const u8, size: Size) -> u64 {
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

/// Stores so many bytes, likewise.
///
/// # Safety
/// As for [`load`], and no reference to them may exist.
#[cfg(target_arch = "x86_64")]
pub unsafe fn store(to: *mut u8, size: Size, value: u64) {
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

/// Loads so many bytes, likewise.
///
/// # Safety
/// As elsewhere.
#[cfg(target_arch = "aarch64")]
pub unsafe fn load(from: *const u8, size: Size) -> u64 {
    let value: u64;
    // SAFETY: they only read those bytes; those of 32 bits and less clear what is above.
    unsafe {
        match size {
            Size::One => asm!("ldrb {0:w}, [{1}]", out(reg) value, in(reg) from),
            Size::Two => asm!("ldrh {0:w}, [{1}]", out(reg) value, in(reg) from),
            Size::Four => asm!("ldr {0:w}, [{1}]", out(reg) value, in(reg) from),
            Size::Eight => asm!("ldr {0:x}, [{1}]", out(reg) value, in(reg) from),
        }
    }
    value
}

/// Stores so many bytes, likewise.
///
/// # Safety
/// As for [`load`], and no reference to them may exist.
#[cfg(target_arch = "aarch64")]
pub unsafe fn store(to: *mut u8, size: Size, value: u64) {
    // SAFETY: they only write those bytes.
    unsafe {
        match size {
            Size::One => asm!("strb {1:w}, [{0}]", in(reg) to, in(reg) value),
            Size::Two => asm!("strh {1:w}, [{0}]", in(reg) to, in(reg) value),
            Size::Four => asm!("str {1:w}, [{0}]", in(reg) to, in(reg) value),
            Size::Eight => asm!("str {1:x}, [{0}]", in(reg) to, in(reg) value),
        }
    }
}

/// Loads so many bytes, likewise.
///
/// # Safety
/// As elsewhere.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub unsafe fn load(from: *const u8, size: Size) -> u64 {
    // SAFETY: they are mapped, and aligned, which is all that can be accessed here.
    unsafe {
        match size {
            Size::One => from.read_volatile().into(),
            Size::Two => from.cast::<u16>().read_volatile().into(),
            Size::Four => from.cast::<u32>().read_volatile().into(),
            Size::Eight => from.cast::<u64>().read_volatile(),
        }
    }
}

/// Stores so many bytes, likewise.
///
/// # Safety
/// As for [`load`], and no reference to them may exist.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[expect(clippy::cast_possible_truncation, reason = "so many bytes are to be stored")]
pub unsafe fn store(to: *mut u8, size: Size, value: u64) {
    // SAFETY: as for the load; nothing else refers to them.
    unsafe {
        match size {
            Size::One => to.write_volatile(value as u8),
            Size::Two => to.cast::<u16>().write_volatile(value as u16),
            Size::Four => to.cast::<u32>().write_volatile(value as u32),
            Size::Eight => to.cast::<u64>().write_volatile(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_each_size_are_moved_and_no_others() {
        for (size, bytes) in [(Size::One, 1), (Size::Two, 2), (Size::Four, 4), (Size::Eight, 8)] {
            let mut memory = [0x1111_1111_1111_1111_u64; 2];
            let start = memory.as_mut_ptr().cast::<u8>();
            let low = u64::MAX >> (64 - 8 * bytes);
            // SAFETY: inside of the aligned array, which nothing else refers to meanwhile.
            let loaded = unsafe {
                store(start, size, 0x8877_6655_4433_2211);
                load(start, size)
            };
            assert_eq!(loaded, 0x8877_6655_4433_2211 & low, "{size:?}");
            assert_eq!(memory[0], loaded | 0x1111_1111_1111_1111 & !low, "{size:?}");
            assert_eq!(memory[1], 0x1111_1111_1111_1111, "{size:?}");
        }
    }
}
