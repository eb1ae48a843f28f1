//! What `--record` adds to a register read.
//!
//! Two servers of one build, one of which records, are asked in alternating rounds of one run.
//! `./scripts/bench.sh record` runs it; with `--check RATIO` it keeps to one processor, on which the
//! thread that writes the file has to run, too, and fails when the ratio of the medians is larger.

mod check;
mod contender;

use std::cmp::Ordering;

use anyhow::{Context, Result, ensure};

use contender::{Contender, keep_to_one_processor};

/// Reads in a round.
const ROUND: usize = 2_000;
/// Rounds of each contender.
const ROUNDS: usize = 40;

fn main() -> Result<()> {
    let limit = check::limit()?;
    if limit.is_some() {
        keep_to_one_processor()?;
    }
    check::checked(
        limit,
        Ordering::Greater,
        "a recorded register read in terms of another",
        measure,
    )
}

/// Measures and reports both; returns the ratio of a recorded read to one that is not.
fn measure() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let recording = folder.path().join("recording");
    let file = recording.to_str().context("a path in UTF-8")?;
    let mut plain = Contender::server(folder.path(), "not recorded", &[])?;
    let mut recorded = Contender::server(folder.path(), "recorded", &["--record", file])?;
    for contender in [&mut plain, &mut recorded] {
        contender.round(ROUND)?;
        contender.times.clear();
    }
    for _ in 0..ROUNDS {
        for contender in [&mut plain, &mut recorded] {
            contender.round(ROUND)?;
        }
    }
    println!("4-byte register read, {} of each, alternating rounds of {ROUND}", ROUND * ROUNDS);
    let micros = |contender: &mut Contender| contender.percentile(50).as_secs_f64() * 1e6;
    let (without, with) = (micros(&mut plain), micros(&mut recorded));
    println!("p50: {without:.2} us not recorded, {with:.2} us recorded: {:.3}", with / without);
    let (without_mean, with_mean) = (plain.mean().as_secs_f64(), recorded.mean().as_secs_f64());
    println!(
        "mean: {:.2} us and {:.2} us: {:.3}",
        without_mean * 1e6,
        with_mean * 1e6,
        with_mean / without_mean
    );
    drop(recorded);
    let bytes = std::fs::metadata(&recording)?.len();
    println!("{bytes} bytes, {} a read", bytes / (ROUND * (ROUNDS + 1)) as u64);
    ensure!(bytes > (ROUND * ROUNDS) as u64 * 32, "the recording has no reads");
    Ok(with / without)
}
