//! A long sequence of register accesses that looks random and is the same each time, for comparing
//! devices: those that are to be the same give the same answers.
//!
//! It begins with a write to SEED, so that what came before does not matter. Then come reads and
//! writes of all sizes, at any offset of the page, aligned or not; half of them are at the
//! registers and next to them.

use crate::pci::Function;
use crate::registers::{self, Access as Attempt};
use crate::sys::{self, Size};
use anyhow::{Result, bail};
use my_rng_model::generator::{ChaCha20, Generator as _};
use my_rng_model::registers::{BAR_SIZE, SEED};
use std::fmt;
use std::io::{BufWriter, Write as _};

/// What is near the registers: the two, and what is behind them.
const NEAR: u64 = 16;

/// One access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Access {
    offset: u64,
    size: Size,
    /// What is written; a read has nothing.
    value: Option<u64>,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (offset, size) = (self.offset, self.size as u8);
        match self.value {
            Some(value) => write!(f, "write {size} at {offset:#05x}: {value:#x}"),
            None => write!(f, "read {size} at {offset:#05x}"),
        }
    }
}

/// The accesses of a sequence.
struct Sequence(ChaCha20);

impl Sequence {
    /// Number below a limit.
    fn below(&mut self, limit: u64) -> u64 {
        u64::from(self.0.next_u32()) % limit
    }

    fn wide(&mut self) -> u64 {
        u64::from(self.0.next_u32()) << 32 | u64::from(self.0.next_u32())
    }
}

impl Iterator for Sequence {
    type Item = Access;

    fn next(&mut self) -> Option<Access> {
        let size = match self.below(4) {
            0 => Size::One,
            1 => Size::Two,
            2 => Size::Four,
            _ => Size::Eight,
        };
        let bytes = size as u64;
        let room = if self.below(2) == 0 { NEAR } else { BAR_SIZE };
        let mut offset = self.below(room - bytes + 1);
        // Most programs align what they access, and some processors have to.
        let possible = usize::try_from(offset).is_ok_and(|offset| sys::can_access(offset, size));
        if self.below(2) == 0 || !possible {
            offset -= offset % bytes;
        }
        let value = (self.below(3) == 0).then(|| self.wide() >> (64 - 8 * bytes));
        Some(Access { offset, size, value })
    }
}

/// Accesses the device and prints each access with its answer.
pub fn run(function: Option<&Function>, sequence: u32, count: u32) -> Result<()> {
    let bar = match registers::map(function, usize::try_from(BAR_SIZE)?)? {
        Attempt::Granted(registers) => registers,
        Attempt::Refused(reason) => bail!("cannot access the registers: {reason}"),
    };
    let begin = Access { offset: SEED, size: Size::Four, value: Some(sequence.into()) };
    let accesses = Sequence(ChaCha20::from_seed(sequence)).take(usize::try_from(count)?);
    let mut output = BufWriter::new(std::io::stdout().lock());
    for access in std::iter::once(begin).chain(accesses) {
        let offset = usize::try_from(access.offset)?;
        if let Some(value) = access.value {
            bar.bar.write_anywhere(offset, access.size, value);
            writeln!(output, "{access}")?;
        } else {
            let answer = bar.bar.read_anywhere(offset, access.size);
            writeln!(output, "{access}: {answer:#x}")?;
        }
    }
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accesses(sequence: u32) -> Vec<Access> {
        Sequence(ChaCha20::from_seed(sequence)).take(5000).collect()
    }

    #[test]
    fn a_sequence_is_the_same_each_time_and_no_other() {
        assert_eq!(accesses(1), accesses(1));
        assert_ne!(accesses(1), accesses(2));
    }

    #[test]
    fn accesses_are_within_the_page_and_reach_both_ends() {
        let accesses = accesses(3);
        assert!(accesses.iter().all(|access| access.offset + access.size as u64 <= BAR_SIZE));
        assert!(accesses.iter().any(|access| access.offset + access.size as u64 > BAR_SIZE - 8));
        assert!(accesses.iter().any(|access| access.offset == 0));
    }

    #[test]
    fn every_size_is_read_and_written_at_the_registers_aligned_and_not() {
        let accesses = accesses(4);
        for size in [Size::One, Size::Two, Size::Four, Size::Eight] {
            for write in [false, true] {
                let near = |aligned: bool| {
                    accesses.iter().any(|access| {
                        access.size == size
                            && access.value.is_some() == write
                            && access.offset < 8
                            && (access.offset % size as u64 == 0) == aligned
                    })
                };
                assert!(near(true), "{size:?} {write}");
                assert!(size == Size::One || near(false), "{size:?} {write}");
            }
        }
    }
}
