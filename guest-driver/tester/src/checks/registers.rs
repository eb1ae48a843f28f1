//! The registers through `resource0`, each access one load or store of the given size.

use super::{Check, Subject, compare, ensure_not_constant};
use crate::expected::GeneratorKind;
use crate::registers::{Access, map};
use crate::report::Outcome;
use crate::sys::{Mapping, Word};
use anyhow::{Result, ensure};
use my_rng_model::latency::Latency;
use my_rng_model::registers as device;

pub const CHECKS: &[Check] = &[
    ("RANDOM gives new numbers", |s| with_bar(s, random_changes)),
    ("SEED reads as 0 in every size", |s| with_bar(s, seed_reads_zero)),
    ("writing SEED restarts the sequence", |s| with_bar(s, seed_restarts)),
    ("the numbers are the generator's", |s| with_bar(s, expected_numbers)),
    ("short reads of RANDOM give low bytes of a new number", |s| with_bar(s, short_reads)),
    ("an 8-byte read is RANDOM, then SEED", |s| with_bar(s, long_read)),
    ("an 8-byte write reaches SEED with its upper half", |s| with_bar(s, long_write)),
    ("the rest of the page reads as 0 in every size", |s| with_bar(s, rest_reads_zero)),
    ("writes to the rest of the page are ignored", |s| with_bar(s, rest_ignores_writes)),
    ("writing RANDOM does not disturb the sequence", |s| with_bar(s, random_ignores_writes)),
    ("latency of one read", |s| with_bar(s, latency)),
];

const RANDOM: usize = to_usize(device::RANDOM);
const SEED: usize = to_usize(device::SEED);
const BAR_SIZE: usize = to_usize(device::BAR_SIZE);
const REST: usize = SEED + u32::SIZE;

#[expect(clippy::cast_possible_truncation, reason = "offsets in one page")]
const fn to_usize(offset: u64) -> usize {
    offset as usize
}

/// Any seed will do; this one has no two equal bytes.
const A_SEED: u32 = 0x1234_cafe;

fn with_bar(
    subject: &Subject,
    check: fn(&Mapping, GeneratorKind) -> Result<Outcome>,
) -> Result<Outcome> {
    match map(subject.pci.as_ref(), BAR_SIZE)? {
        Access::Granted(registers) => check(&registers.bar, subject.generator),
        Access::Refused(reason) => Outcome::skip(reason),
    }
}

fn numbers(bar: &Mapping, count: usize) -> Vec<u32> {
    (0..count).map(|_| bar.read(RANDOM)).collect()
}

fn seeded(bar: &Mapping, seed: u32, count: usize) -> Vec<u32> {
    bar.write(SEED, seed);
    numbers(bar, count)
}

fn random_changes(bar: &Mapping, _: GeneratorKind) -> Result<Outcome> {
    ensure_not_constant(&numbers(bar, 16))?;
    Ok(Outcome::Pass)
}

fn seed_reads_zero(bar: &Mapping, _: GeneratorKind) -> Result<Outcome> {
    bar.write(SEED, A_SEED);
    ensure_zero::<u8>(bar, SEED)?;
    ensure_zero::<u16>(bar, SEED)?;
    ensure_zero::<u32>(bar, SEED)?;
    Ok(Outcome::Pass)
}

fn seed_restarts(bar: &Mapping, _: GeneratorKind) -> Result<Outcome> {
    let (first, second) = (seeded(bar, A_SEED, 16), seeded(bar, A_SEED, 16));
    ensure!(first == second, "{first:x?} and then {second:x?}");
    Ok(Outcome::Pass)
}

fn expected_numbers(bar: &Mapping, generator: GeneratorKind) -> Result<Outcome> {
    let Some(expected) = generator.sequence(A_SEED, 16) else {
        return Outcome::skip("generator not known, see --generator");
    };
    compare(&seeded(bar, A_SEED, 16), &expected)
}

fn short_reads(bar: &Mapping, _: GeneratorKind) -> Result<Outcome> {
    let sequence = seeded(bar, A_SEED, 3);
    bar.write(SEED, A_SEED);
    let seen = [u32::from(bar.read::<u8>(RANDOM)), u32::from(bar.read::<u16>(RANDOM))];
    let expected = [sequence[0] & 0xff, sequence[1] & 0xffff];
    ensure!(seen == expected, "{seen:x?} instead of {expected:x?}");
    let next: u32 = bar.read(RANDOM);
    ensure!(next == sequence[2], "then {next:#x} instead of {:#x}", sequence[2]);
    Ok(Outcome::Pass)
}

fn long_read(bar: &Mapping, _: GeneratorKind) -> Result<Outcome> {
    let sequence = seeded(bar, A_SEED, 2);
    bar.write(SEED, A_SEED);
    for number in sequence {
        let seen: u64 = bar.read(RANDOM);
        ensure!(seen == u64::from(number), "{seen:#x} instead of {number:#x}");
    }
    Ok(Outcome::Pass)
}

fn long_write(bar: &Mapping, _: GeneratorKind) -> Result<Outcome> {
    let sequence = seeded(bar, A_SEED, 4);
    bar.write(RANDOM, u64::from(A_SEED) << 32);
    compare(&numbers(bar, 4), &sequence)
}

fn rest_reads_zero(bar: &Mapping, _: GeneratorKind) -> Result<Outcome> {
    ensure_rest_is_zero::<u64>(bar)?;
    ensure_rest_is_zero::<u32>(bar)?;
    ensure_rest_is_zero::<u16>(bar)?;
    ensure_rest_is_zero::<u8>(bar)?;
    Ok(Outcome::Pass)
}

fn rest_ignores_writes(bar: &Mapping, _: GeneratorKind) -> Result<Outcome> {
    let sequence = seeded(bar, A_SEED, 4);
    bar.write(SEED, A_SEED);
    for offset in (REST..BAR_SIZE).step_by(u64::SIZE) {
        bar.write(offset, u64::MAX);
    }
    bar.write(REST, u32::MAX);
    bar.write(REST, u16::MAX);
    bar.write(REST, u8::MAX);
    ensure_rest_is_zero::<u64>(bar)?;
    compare(&numbers(bar, 4), &sequence)
}

fn random_ignores_writes(bar: &Mapping, _: GeneratorKind) -> Result<Outcome> {
    let sequence = seeded(bar, A_SEED, 4);
    bar.write(SEED, A_SEED);
    bar.write(RANDOM, u32::MAX);
    compare(&numbers(bar, 4), &sequence)
}

fn latency(bar: &Mapping, _: GeneratorKind) -> Result<Outcome> {
    /// Enough for a 99th percentile.
    const CALLS: usize = 10_000;

    let latency = Latency::of(CALLS, || {
        bar.read::<u32>(RANDOM);
        anyhow::Ok(())
    })?;
    Ok(Outcome::timed(&latency))
}

fn ensure_rest_is_zero<T: Word>(bar: &Mapping) -> Result<()> {
    (REST..BAR_SIZE).step_by(T::SIZE).try_for_each(|offset| ensure_zero::<T>(bar, offset))
}

fn ensure_zero<T: Word>(bar: &Mapping, offset: usize) -> Result<()> {
    let value: u64 = bar.read::<T>(offset).into();
    ensure!(value == 0, "{} bytes at {offset:#x} read as {value:#x}", T::SIZE);
    Ok(())
}
