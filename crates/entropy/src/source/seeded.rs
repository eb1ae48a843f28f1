//! The seeded source: the key stream of a seed, for tests. Anyone can predict it.

use super::{ReadOutcome, Source, SourcePosition};
use my_rng_model::generator::{ChaCha20, Generator};

/// Bytes in a number of the stream.
const WORD: usize = size_of::<u32>();

/// The key stream of a [`ChaCha20`], byte by byte: whether it is read in large pieces or small,
/// no byte is left out.
pub(super) struct Seeded {
    stream: ChaCha20,
    /// The number that the last request took only the first bytes of.
    word: [u8; WORD],
    /// How many of them it took.
    taken: usize,
    seed: u32,
    /// Bytes given out so far.
    position: u64,
}

impl Seeded {
    /// The stream of this seed. The log says that it is no secret.
    pub fn new(seed: u32) -> Self {
        log::warn!(
            "chacha20:{seed} is for tests only: EVERY BYTE IS PREDICTABLE, the guest must not make keys of them"
        );
        Seeded {
            stream: ChaCha20::from_seed(seed),
            word: [0; WORD],
            taken: WORD,
            seed,
            position: 0,
        }
    }

    /// Copies from the number that is left over, as much as there is.
    fn take_rest(&mut self, buffer: &mut [u8]) -> usize {
        let rest = &self.word[self.taken..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        count
    }
}

impl Source for Seeded {
    fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        let count = self.take_rest(buffer);
        let rest = &mut buffer[count..];
        let (whole, last) = rest.split_at_mut(rest.len() - rest.len() % WORD);
        self.stream.fill(whole);
        if !last.is_empty() {
            self.word = self.stream.next_u32().to_le_bytes();
            self.taken = 0;
            self.take_rest(last);
        }
        self.position += buffer.len() as u64;
        ReadOutcome::Bytes(buffer.len())
    }

    fn position(&self) -> Option<SourcePosition> {
        Some(SourcePosition::Seeded(self.position))
    }

    fn set_position(&mut self, position: SourcePosition) {
        let SourcePosition::Seeded(position) = position else { return };
        let (words, taken) = (position / WORD as u64, position % WORD as u64);
        self.stream = ChaCha20::from_seed(self.seed);
        self.stream.skip(words);
        (self.taken, self.position) = (WORD, position);
        if taken > 0 {
            self.word = self.stream.next_u32().to_le_bytes();
            self.taken = usize::try_from(taken).unwrap_or(WORD);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_the_numbers_of_the_seed_little_endian() {
        let mut numbers = ChaCha20::from_seed(42);
        let mut bytes = [0; 32];
        assert_eq!(Seeded::new(42).read(&mut bytes), ReadOutcome::Bytes(32));
        for word in bytes.chunks(4) {
            assert_eq!(word, numbers.next_u32().to_le_bytes());
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_make_up_the_same_stream(sizes in prop::collection::vec(1..300_usize, 1..20)) {
            let mut source = Seeded::new(7);
            let mut pieces = Vec::new();
            for size in sizes {
                let mut piece = vec![0; size];
                prop_assert_eq!(source.read(&mut piece), ReadOutcome::Bytes(size));
                pieces.extend(piece);
            }
            let mut whole = vec![0; pieces.len()];
            Seeded::new(7).read(&mut whole);
            prop_assert_eq!(pieces, whole);
        }
    }
}
