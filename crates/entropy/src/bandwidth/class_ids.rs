//! The allocator of class ids: numbers of 16 bits, each in use once.

use std::fmt;

/// What a class is known by: unique in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u16);

impl fmt::Display for ClassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bits of a word.
const BITS: usize = u64::BITS as usize;

/// Words of all class ids.
const WORDS: usize = (u16::MAX as usize + 1) / BITS;

/// A class id that cannot be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassIdError {
    /// Each of them is in use.
    #[error("all 65536 class ids are in use; remove a guest or a group first")]
    Exhausted,
    /// This one is in use.
    #[error("class id {0} is in use")]
    Taken(ClassId),
}

/// Which class ids are in use.
///
/// ```
/// use entropy::bandwidth::{ClassId, ClassIdAllocator};
/// let mut class_ids = ClassIdAllocator::default();
/// class_ids.reserve(ClassId(0))?;
/// assert_eq!(class_ids.allocate()?, ClassId(1));
/// class_ids.release(ClassId(0));
/// assert_eq!(class_ids.allocate()?, ClassId(0));
/// # Ok::<(), entropy::bandwidth::ClassIdError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClassIdAllocator {
    /// A bit for each: 1 is in use.
    words: Box<[u64; WORDS]>,
}

impl Default for ClassIdAllocator {
    fn default() -> Self {
        ClassIdAllocator { words: Box::new([0; WORDS]) }
    }
}

impl ClassIdAllocator {
    /// Allocates the lowest free one.
    ///
    /// # Errors
    /// [`ClassIdError::Exhausted`].
    pub fn allocate(&mut self) -> Result<ClassId, ClassIdError> {
        let free = self.words.iter().position(|word| *word != u64::MAX);
        let index = free.ok_or(ClassIdError::Exhausted)?;
        let bit = self.words[index].trailing_ones() as usize;
        let lowest = u16::try_from(index * BITS + bit).map_err(|_| ClassIdError::Exhausted)?;
        self.reserve(ClassId(lowest))?;
        Ok(ClassId(lowest))
    }

    /// Allocates this one, which its owner had before.
    ///
    /// # Errors
    /// [`ClassIdError::Taken`].
    pub fn reserve(&mut self, id: ClassId) -> Result<(), ClassIdError> {
        let (word, mask) = self.place(id);
        if *word & mask != 0 {
            return Err(ClassIdError::Taken(id));
        }
        *word |= mask;
        Ok(())
    }

    /// Releases one. One that is free stays so.
    pub fn release(&mut self, id: ClassId) {
        let (word, mask) = self.place(id);
        *word &= !mask;
    }

    fn place(&mut self, id: ClassId) -> (&mut u64, u64) {
        let index = usize::from(id.0);
        (&mut self.words[index / BITS], 1 << (index % BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_one_is_given() {
        let mut class_ids = ClassIdAllocator::default();
        for expected in 0..200 {
            assert_eq!(class_ids.allocate(), Ok(ClassId(expected)));
        }
        for back in [150, 64, 63] {
            class_ids.release(ClassId(back));
        }
        for expected in [63, 64, 150, 200] {
            assert_eq!(class_ids.allocate(), Ok(ClassId(expected)));
        }
    }

    #[test]
    fn one_in_use_is_not_given_again() {
        let mut class_ids = ClassIdAllocator::default();
        assert_eq!(class_ids.reserve(ClassId(u16::MAX)), Ok(()));
        let taken = ClassIdError::Taken(ClassId(u16::MAX));
        assert_eq!(class_ids.reserve(ClassId(u16::MAX)), Err(taken));
    }

    #[test]
    fn there_are_65536_of_them() {
        let mut class_ids = ClassIdAllocator::default();
        for expected in 0..=u16::MAX {
            assert_eq!(class_ids.allocate(), Ok(ClassId(expected)));
        }
        assert_eq!(class_ids.allocate(), Err(ClassIdError::Exhausted));
        class_ids.release(ClassId(12345));
        assert_eq!(class_ids.allocate(), Ok(ClassId(12345)));
    }
}
