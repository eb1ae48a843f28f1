//! Where the numbers come from: one trait, two generators.
//!
//! A [`Generator`] is a stream of 32-bit numbers that a 32-bit seed can restart. It knows nothing
//! of PCI, so that the guest's tester can compute on its own what a device has to answer.

mod chacha20;
mod glibc;

pub use chacha20::ChaCha20;
pub use glibc::Glibc;

use rustix::rand::{GetRandomFlags, getrandom};

/// A stream of 32-bit numbers that starts again from a seed.
pub trait Generator: Send {
    /// Restarts the stream: the same seed gives the same numbers again.
    fn seed(&mut self, seed: u32);

    /// The next number of the stream.
    fn next_u32(&mut self) -> u32;
}

/// The generators that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The ChaCha20 stream cipher's key stream; the seed is the key's first 32 bits.
    Chacha20,
    /// srand() and rand() of the GNU C library, bit by bit.
    Glibc,
}

impl Kind {
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

/// 32 bytes of the operating system's own randomness, a ChaCha20 key's worth.
///
/// # Errors
/// Whatever getrandom(2) reports; on a running Linux it does not fail.
pub(crate) fn os_entropy() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}
