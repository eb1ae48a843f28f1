//! Bytes that everybody can predict: the key stream of a seed, for tests.

use super::{Drawn, Source};
use crate::generator::{ChaCha20, Generator};

/// Bytes in a number of the stream.
const WORD: usize = size_of::<u32>();

/// The key stream of a [`ChaCha20`], byte by byte: however it is drawn, in large pieces or small,
/// no byte is left out.
pub(super) struct Predictable {
    stream: ChaCha20,
    /// The number that the last request took only the first bytes of.
    word: [u8; WORD],
    /// How many of them it took.
    taken: usize,
}

impl Predictable {
    /// The stream of this seed. The log says that it is no secret.
    pub fn new(seed: u32) -> Self {
        log::warn!(
            "chacha20:{seed} is for tests only: EVERY BYTE IS PREDICTABLE, the guest must not make keys of them"
        );
        Predictable { stream: ChaCha20::from_seed(seed), word: [0; WORD], taken: WORD }
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

impl Source for Predictable {
    fn draw(&mut self, buffer: &mut [u8]) -> Drawn {
        let count = self.take_rest(buffer);
        let rest = &mut buffer[count..];
        let (whole, last) = rest.split_at_mut(rest.len() - rest.len() % WORD);
        self.stream.fill(whole);
        if !last.is_empty() {
            self.word = self.stream.next_u32().to_le_bytes();
            self.taken = 0;
            self.take_rest(last);
        }
        Drawn::Bytes(buffer.len())
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
        assert_eq!(Predictable::new(42).draw(&mut bytes), Drawn::Bytes(32));
        for word in bytes.chunks(4) {
            assert_eq!(word, numbers.next_u32().to_le_bytes());
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_make_up_the_same_stream(sizes in prop::collection::vec(1..300_usize, 1..20)) {
            let mut source = Predictable::new(7);
            let mut pieces = Vec::new();
            for size in sizes {
                let mut piece = vec![0; size];
                prop_assert_eq!(source.draw(&mut piece), Drawn::Bytes(size));
                pieces.extend(piece);
            }
            let mut whole = vec![0; pieces.len()];
            Predictable::new(7).draw(&mut whole);
            prop_assert_eq!(pieces, whole);
        }
    }
}
