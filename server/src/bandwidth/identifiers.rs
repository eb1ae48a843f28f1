//! The identifiers of classes: 16 bits, each given once until it comes back.

use super::ClassId;

/// Bits of a word.
const BITS: usize = u64::BITS as usize;

/// Words of all identifiers.
const WORDS: usize = (u16::MAX as usize + 1) / BITS;

/// An identifier that cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// Each of them is somebody's.
    #[error("all 65536 class identifiers are in use; remove a guest or a group first")]
    Exhausted,
    /// This one is.
    #[error("class identifier {0} is in use already")]
    Taken(ClassId),
}

/// Which identifiers are in use.
///
/// ```
/// use my_rng_server::bandwidth::{ClassId, Identifiers};
/// let mut identifiers = Identifiers::default();
/// identifiers.take_exactly(ClassId(0))?;
/// assert_eq!(identifiers.take()?, ClassId(1));
/// identifiers.give_back(ClassId(0));
/// assert_eq!(identifiers.take()?, ClassId(0));
/// # Ok::<(), my_rng_server::bandwidth::IdentifierError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Identifiers {
    /// A bit for each: 1 is in use.
    words: Box<[u64]>,
}

impl Default for Identifiers {
    fn default() -> Self {
        Identifiers { words: vec![0; WORDS].into_boxed_slice() }
    }
}

impl Identifiers {
    /// Takes the lowest free one.
    ///
    /// # Errors
    /// [`IdentifierError::Exhausted`].
    pub fn take(&mut self) -> Result<ClassId, IdentifierError> {
        let free = self.words.iter().position(|word| *word != u64::MAX);
        let index = free.ok_or(IdentifierError::Exhausted)?;
        let bit = self.words.get(index).map_or(0, |word| word.trailing_ones() as usize);
        let lowest = u16::try_from(index * BITS + bit).map_err(|_| IdentifierError::Exhausted)?;
        self.take_exactly(ClassId(lowest))?;
        Ok(ClassId(lowest))
    }

    /// Takes this one, which its owner had before.
    ///
    /// # Errors
    /// [`IdentifierError::Taken`].
    pub fn take_exactly(&mut self, id: ClassId) -> Result<(), IdentifierError> {
        let (word, mask) = self.place(id).ok_or(IdentifierError::Exhausted)?;
        if *word & mask != 0 {
            return Err(IdentifierError::Taken(id));
        }
        *word |= mask;
        Ok(())
    }

    /// Makes one free again. One that is free stays so.
    pub fn give_back(&mut self, id: ClassId) {
        if let Some((word, mask)) = self.place(id) {
            *word &= !mask;
        }
    }

    fn place(&mut self, id: ClassId) -> Option<(&mut u64, u64)> {
        let index = usize::from(id.0);
        Some((self.words.get_mut(index / BITS)?, 1 << (index % BITS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_one_is_given() {
        let mut identifiers = Identifiers::default();
        for expected in 0..200 {
            assert_eq!(identifiers.take(), Ok(ClassId(expected)));
        }
        for back in [150, 64, 63] {
            identifiers.give_back(ClassId(back));
        }
        for expected in [63, 64, 150, 200] {
            assert_eq!(identifiers.take(), Ok(ClassId(expected)));
        }
    }

    #[test]
    fn one_in_use_is_not_given_again() {
        let mut identifiers = Identifiers::default();
        assert_eq!(identifiers.take_exactly(ClassId(u16::MAX)), Ok(()));
        let taken = IdentifierError::Taken(ClassId(u16::MAX));
        assert_eq!(identifiers.take_exactly(ClassId(u16::MAX)), Err(taken));
    }

    #[test]
    fn there_are_65536_of_them() {
        let mut identifiers = Identifiers::default();
        for expected in 0..=u16::MAX {
            assert_eq!(identifiers.take(), Ok(ClassId(expected)));
        }
        assert_eq!(identifiers.take(), Err(IdentifierError::Exhausted));
        identifiers.give_back(ClassId(12345));
        assert_eq!(identifiers.take(), Ok(ClassId(12345)));
    }
}
