//! Sequences after a seed.

use super::{Check, Subject, compare};
use crate::expected::GeneratorKind;
use crate::report::Outcome;
use anyhow::{Result, ensure};

pub const CHECKS: &[Check] = &[
    ("the same seed gives the same numbers", same_seed),
    ("different seeds give different numbers", different_seeds),
    ("a new seed takes effect in mid-sequence", reseeding),
    ("nothing takes numbers out of a seeded sequence", undisturbed),
    ("the numbers are the generator's", expected_numbers),
    ("the numbers are the published ones", published_numbers),
];

/// The edges of the range, of its signed half, and something between.
const SEEDS: [u32; 8] = [0, 1, 2, 42, 0x1234_cafe, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/// rand() of the C library after srand(1), which is also that of srand(0).
const GLIBC: [u32; 5] = [1_804_289_383, 846_930_886, 1_681_692_777, 1_714_636_915, 1_957_747_793];

/// Numbers that must never change: seed and first numbers.
fn published(generator: GeneratorKind) -> &'static [(u32, [u32; 5])] {
    match generator {
        GeneratorKind::Glibc => &[(0, GLIBC), (1, GLIBC)],
        GeneratorKind::Chacha20 => &[
            (0, [0xade0_b876, 0x903d_f1a0, 0xe56a_5d40, 0x28bd_8653, 0xb819_d2bd]),
            (42, [0x26e5_761f, 0x6ae3_0a51, 0x5c8b_5c62, 0xb4eb_7f59, 0xce2c_0416]),
        ],
        GeneratorKind::Unknown => &[],
    }
}

fn seeded(subject: &Subject, seed: u32, count: usize) -> Result<Vec<u32>> {
    let device = subject.open()?;
    device.seed(seed)?;
    device.randoms(count)
}

fn same_seed(subject: &Subject) -> Result<Outcome> {
    for seed in SEEDS {
        let (first, second) = (seeded(subject, seed, 100)?, seeded(subject, seed, 100)?);
        ensure!(first == second, "seed {seed}: {:x?}, then {:x?}", &first[..4], &second[..4]);
    }
    Ok(Outcome::Pass)
}

fn different_seeds(subject: &Subject) -> Result<Outcome> {
    // 0 and 1 are the same seed for the C library.
    let sequences = SEEDS[1..].iter().map(|&seed| seeded(subject, seed, 8));
    let mut sequences = sequences.collect::<Result<Vec<_>>>()?;
    sequences.sort();
    sequences.dedup();
    ensure!(sequences.len() == SEEDS.len() - 1, "only {} sequences", sequences.len());
    Ok(Outcome::Pass)
}

fn reseeding(subject: &Subject) -> Result<Outcome> {
    let expected = seeded(subject, 42, 8)?;
    let device = subject.open()?;
    device.seed(7)?;
    device.randoms(3)?;
    device.seed(42)?;
    compare(&device.randoms(8)?, &expected)
}

fn undisturbed(subject: &Subject) -> Result<Outcome> {
    /// The kernel's entropy thread wakes up now and then; a driver may not let it draw.
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(1500);

    let expected = seeded(subject, 42, 8)?;
    let device = subject.open()?;
    device.seed(42)?;
    let mut seen = device.randoms(4)?;
    std::thread::sleep(PAUSE);
    seen.extend(device.randoms(4)?);
    compare(&seen, &expected)
}

fn expected_numbers(subject: &Subject) -> Result<Outcome> {
    for seed in SEEDS {
        let Some(expected) = subject.generator.sequence(seed, 500) else {
            return Outcome::skip("generator not known, see --generator");
        };
        let seen = seeded(subject, seed, 500)?;
        let differ = seen.iter().zip(&expected).position(|(seen, expected)| seen != expected);
        ensure!(
            differ.is_none(),
            "seed {seed}: {:x?} instead of {:x?}, first difference at {differ:?}",
            &seen[..4],
            &expected[..4]
        );
    }
    Ok(Outcome::Pass)
}

fn published_numbers(subject: &Subject) -> Result<Outcome> {
    let published = published(subject.generator);
    if published.is_empty() {
        return Outcome::skip("generator not known, see --generator");
    }
    for (seed, numbers) in published {
        let seen = seeded(subject, *seed, numbers.len())?;
        ensure!(seen == numbers, "seed {seed}: {seen:?} instead of {numbers:?}");
    }
    Ok(Outcome::Pass)
}
