//! The course's generator: the numbers of the GNU C library's `srand()` and `rand()`, bit by bit.
//!
//! It is the additive feedback generator x³¹ + x³ + 1 that glibc calls TYPE_3 (its default), with
//! state filled by the "minimal standard" multiplier 16807 (stdlib/random_r.c). Of course it is
//! no source of secrets: 31 outputs in a row give the whole future away.

use super::{Generator, GeneratorState, os_entropy};

/// Words of state, the degree of the feedback polynomial.
const DEGREE: usize = 31;
/// Distance of the two taps.
const SEPARATION: usize = 3;
/// Outputs that srand() throws away after filling the state.
const DISCARDED: usize = 10 * DEGREE;
/// Modulus of the multiplier that fills the state, 2³¹ - 1.
const MODULUS: i64 = 0x7fff_ffff;
/// The multiplier that fills the state.
const MULTIPLIER: i64 = 16807;

/// `srand()` and `rand()` of the GNU C library.
///
/// ```
/// use my_rng_model::generator::{Generator, Glibc};
/// let mut numbers = Glibc::from_seed(1);
/// assert_eq!(numbers.next_u32(), 1804289383);
/// ```
pub struct Glibc {
    state: [u32; DEGREE],
    /// The tap that is replaced by the sum, then read.
    front: usize,
    /// The tap that is added.
    rear: usize,
}

impl Glibc {
    /// The state after `srand(seed)`; 0 means 1, as there.
    pub fn from_seed(seed: u32) -> Self {
        // The C library keeps the words in int32_t: a seed from 2³¹ on is a negative number.
        let mut word = i64::from(seed.max(1) as i32);
        let mut state = [0; DEGREE];
        for (index, slot) in state.iter_mut().enumerate() {
            if index > 0 {
                // Remainder with the sign of the dividend, as C has it, then made positive.
                word = (MULTIPLIER * word) % MODULUS;
                if word < 0 {
                    word += MODULUS;
                }
            }
            // Two's complement of an int32_t that was widened: the low half is the word.
            *slot = (word & 0xffff_ffff) as u32;
        }
        let mut generator = Glibc { state, front: SEPARATION, rear: 0 };
        for _ in 0..DISCARDED {
            generator.next_u32();
        }
        generator
    }

    /// A generator at that place in its stream. `None` if there is no such place.
    pub(super) fn at(state: [u32; DEGREE], front: usize, rear: usize) -> Option<Self> {
        (front < DEGREE && rear < DEGREE).then_some(Glibc { state, front, rear })
    }

    /// A stream from a seed that the operating system chose.
    ///
    /// # Errors
    /// Whatever getrandom(2) reports.
    pub fn from_os() -> std::io::Result<Self> {
        let [a, b, c, d, ..] = os_entropy()?;
        Ok(Glibc::from_seed(u32::from_le_bytes([a, b, c, d])))
    }
}

impl Generator for Glibc {
    fn seed(&mut self, seed: u32) {
        *self = Glibc::from_seed(seed);
    }

    fn next_u32(&mut self) -> u32 {
        let sum = self.state[self.front].wrapping_add(self.state[self.rear]);
        self.state[self.front] = sum;
        self.front = (self.front + 1) % DEGREE;
        self.rear = (self.rear + 1) % DEGREE;
        sum >> 1
    }

    fn state(&self) -> GeneratorState {
        let Glibc { state, front, rear } = *self;
        GeneratorState::Glibc { state, front, rear }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{c_int, c_uint};

    use super::*;

    // The C library that the test is linked with is the reference.
    unsafe extern "C" {
        fn srand(seed: c_uint);
        fn rand() -> c_int;
    }

    #[test]
    fn published_numbers_of_seeds_zero_and_one() {
        for seed in [0, 1] {
            let mut numbers = Glibc::from_seed(seed);
            let first: [u32; 5] = std::array::from_fn(|_| numbers.next_u32());
            assert_eq!(first, [1804289383, 846930886, 1681692777, 1714636915, 1957747793]);
        }
    }

    /// One test function holds every call of rand(): the C library has one state a process.
    #[test]
    fn twenty_thousand_seeds_agree_with_the_c_library() {
        let edges = [0, 1, 2, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, u32::MAX];
        let spread = (0..20_000_u32).map(|n| n.wrapping_mul(0x9e37_79b9));
        for seed in edges.into_iter().chain(spread) {
            let mut numbers = Glibc::from_seed(seed);
            // SAFETY: plain C functions on the library's own state, called by this thread alone.
            unsafe { srand(seed) };
            for position in 0..40 {
                // SAFETY: as above.
                let expected = unsafe { rand() };
                assert_eq!(
                    numbers.next_u32(),
                    expected as u32,
                    "seed {seed:#x}, number {position}"
                );
            }
        }
    }
}
