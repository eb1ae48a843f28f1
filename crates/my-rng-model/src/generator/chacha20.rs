//! The default generator: the ChaCha20 stream cipher's key stream, read 32 bits at a time.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{Generator, GeneratorState, os_entropy};

/// ChaCha20 as a generator of 32-bit numbers.
///
/// The seeding function is part of the device's contract and never changes: a 32-bit seed, little
/// endian, is bytes 0 to 3 of the 32-byte key, bytes 4 to 31 are zero, nonce and block counter
/// start at zero. The numbers are the key stream's bytes, four at a time, little endian. With
/// OpenSSL, the stream of seed 1 is
/// `openssl enc -chacha20 -K 01000000...00 -iv 00000000000000000000000000000000 -in /dev/zero`.
///
/// ```
/// use my_rng_model::generator::{ChaCha20, Generator};
/// let mut numbers = ChaCha20::from_seed(0);
/// assert_eq!(numbers.next_u32(), 0xade0_b876);
/// ```
pub struct ChaCha20(ChaCha20Rng);

impl ChaCha20 {
    /// The stream of a 32-bit seed.
    pub fn from_seed(seed: u32) -> Self {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&seed.to_le_bytes());
        ChaCha20(ChaCha20Rng::from_seed(key))
    }

    /// Goes on from that number of the stream.
    pub fn skip(&mut self, numbers: u64) {
        self.0.set_word_pos(numbers.into());
    }

    /// The stream of a whole key, from a number on.
    pub(super) fn at(key: [u8; 32], position: u64) -> Self {
        let mut numbers = ChaCha20Rng::from_seed(key);
        numbers.set_word_pos(position.into());
        ChaCha20(numbers)
    }

    /// An unpredictable stream: the whole key is taken from getrandom(2).
    ///
    /// # Errors
    /// Whatever getrandom(2) reports.
    pub fn from_os() -> std::io::Result<Self> {
        Ok(ChaCha20(ChaCha20Rng::from_seed(os_entropy()?)))
    }

    /// Fills a buffer with the next numbers, four bytes each, as fast as the cipher can. Of a last
    /// number that does not fit, the high bytes are dropped.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        // The cipher fills a block of its own, which is then copied. If the compiler knows that the
        // two do not overlap, it copies by memcpy(3), which costs a fifth of the speed where it was
        // measured. So it is not told.
        self.0.fill_bytes(std::hint::black_box(buffer));
    }
}

impl Generator for ChaCha20 {
    fn seed(&mut self, seed: u32) {
        *self = ChaCha20::from_seed(seed);
    }

    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn state(&self) -> GeneratorState {
        // No device lives for 2^64 numbers.
        let position = u64::try_from(self.0.get_word_pos()).unwrap_or(u64::MAX);
        GeneratorState::Chacha20 { key: self.0.get_seed(), position }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First key stream words of five seeds, from OpenSSL's chacha20 with the key described above.
    const VECTORS: [(u32, [u32; 5]); 5] = [
        (0x0000_0000, [0xade0_b876, 0x903d_f1a0, 0xe56a_5d40, 0x28bd_8653, 0xb819_d2bd]),
        (0x0000_0001, [0x7c0a_d3c5, 0x9311_ece1, 0x484f_c878, 0x855a_777d, 0xce3e_f142]),
        (0x0000_002a, [0x26e5_761f, 0x6ae3_0a51, 0x5c8b_5c62, 0xb4eb_7f59, 0xce2c_0416]),
        (0xdead_beef, [0xcb0d_f0af, 0x3010_7623, 0x2af1_b4f8, 0x1d2e_490c, 0x1bc6_bea4]),
        (0xffff_ffff, [0x39e0_de13, 0x2849_e521, 0x3ae1_aef4, 0x801c_70ec, 0xe01d_eec9]),
    ];

    #[test]
    fn seeds_give_the_published_streams() {
        for (seed, expected) in VECTORS {
            let mut numbers = ChaCha20::from_seed(seed);
            assert_eq!(expected.map(|_| numbers.next_u32()), expected, "seed {seed:#x}");
        }
    }

    #[test]
    fn seeding_again_restarts_the_stream() {
        let mut numbers = ChaCha20::from_os().expect("getrandom");
        numbers.seed(7);
        let first = numbers.next_u32();
        numbers.next_u32();
        numbers.seed(7);
        assert_eq!(numbers.next_u32(), first);
    }

    #[test]
    fn filling_takes_the_next_numbers() {
        for length in [1, 4, 63, 64, 65, 255, 256, 1000] {
            let (mut one, mut other) = (ChaCha20::from_seed(7), ChaCha20::from_seed(7));
            assert_eq!(one.next_u32(), other.next_u32());
            let mut filled = vec![0; length];
            one.fill(&mut filled);
            for bytes in filled.chunks(4) {
                assert_eq!(bytes, &other.next_u32().to_le_bytes()[..bytes.len()], "{length}");
            }
            assert_eq!(one.next_u32(), other.next_u32(), "{length}");
        }
    }

    #[test]
    fn unseeded_streams_differ() {
        let mut one = ChaCha20::from_os().expect("getrandom");
        let mut other = ChaCha20::from_os().expect("getrandom");
        let take = |g: &mut ChaCha20| [g.next_u32(), g.next_u32(), g.next_u32(), g.next_u32()];
        assert_ne!(take(&mut one), take(&mut other));
    }
}
