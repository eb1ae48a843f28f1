//! Where the numbers come from: one trait, two generators.
//!
//! A [`Generator`] is a stream of 32-bit numbers that a 32-bit seed can restart. It knows nothing
//! of PCI, so that the guest's tester can compute on its own what a device has to answer.

mod chacha20;
mod glibc;
mod state;

pub use chacha20::ChaCha20;
pub use glibc::Glibc;
pub use state::GeneratorState;

use std::fmt;
use std::str::FromStr;

use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};

/// A stream of 32-bit numbers that starts again from a seed.
pub trait Generator: Send {
    /// Restarts the stream: the same seed gives the same numbers again.
    fn seed(&mut self, seed: u32);

    /// The next number of the stream.
    fn next_u32(&mut self) -> u32;

    /// Where in its stream it is.
    fn state(&self) -> GeneratorState;
}

/// The generators that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The ChaCha20 stream cipher's key stream; the seed is the key's first 32 bits.
    #[default]
    Chacha20,
    /// srand() and rand() of the GNU C library, bit by bit.
    Glibc,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 2] = [Kind::Chacha20, Kind::Glibc];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Chacha20 => "chacha20",
            Kind::Glibc => "glibc",
        }
    }

    /// A generator with this seed, or with one that the operating system chooses.
    ///
    /// # Errors
    /// Whatever getrandom(2) reports.
    pub fn start(self, seed: Option<u32>) -> std::io::Result<Box<dyn Generator>> {
        Ok(match (self, seed) {
            (Kind::Chacha20, Some(seed)) => Box::new(ChaCha20::from_seed(seed)),
            (Kind::Chacha20, None) => Box::new(ChaCha20::from_os()?),
            (Kind::Glibc, Some(seed)) => Box::new(Glibc::from_seed(seed)),
            (Kind::Glibc, None) => Box::new(Glibc::from_os()?),
        })
    }
}

impl GeneratorState {
    /// A generator at this place. `None` if there is no such place.
    pub fn start(self) -> Option<Box<dyn Generator>> {
        match self {
            GeneratorState::Chacha20 { key, position } => {
                Some(Box::new(ChaCha20::at(key, position)))
            }
            GeneratorState::Glibc { state, front, rear } => {
                Some(Box::new(Glibc::at(state, front, rear)?))
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindError(String);

impl fmt::Display for KindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}; expected one of chacha20, glibc", self.0)
    }
}

impl std::error::Error for KindError {}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| KindError(text.into()))
    }
}

/// 32 bytes of the operating system's own randomness, a ChaCha20 key's worth.
///
/// # Errors
/// Whatever getrandom(2) reports; on a running Linux it does not fail.
pub(crate) fn os_entropy() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        let more = || getrandom(&mut bytes[filled..], GetRandomFlags::empty());
        filled += retry_on_intr(more)?;
    }
    Ok(bytes)
}
