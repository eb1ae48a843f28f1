//! The numbers a seeded device has to give, computed without it.

use clap::ValueEnum;
use my_rng_model::generator::{ChaCha20, Generator, Glibc};

/// The generators a server can be started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GeneratorKind {
    /// The default one.
    Chacha20,
    /// The C library's srand() and rand().
    Glibc,
    /// Not told: numbers are not compared with expected ones.
    Unknown,
}

impl GeneratorKind {
    /// The first numbers after seeding, if the generator is known.
    pub fn sequence(self, seed: u32, count: usize) -> Option<Vec<u32>> {
        let mut generator: Box<dyn Generator> = match self {
            Self::Chacha20 => Box::new(ChaCha20::from_seed(seed)),
            Self::Glibc => Box::new(Glibc::from_seed(seed)),
            Self::Unknown => return None,
        };
        Some((0..count).map(|_| generator.next_u32()).collect())
    }
}
