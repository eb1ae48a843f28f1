//! `--check RATIO`, by which a benchmark fails when a ratio that it measures is worse than that.

use std::cmp::Ordering;
use std::env;

use anyhow::{Context, Result, bail};

/// How often it measures before it gives up: another process may have had the processor.
const ATTEMPTS: usize = 3;

/// The ratio of `--check` on this process's command line, if it is there.
pub fn limit() -> Result<Option<f64>> {
    let mut arguments = env::args();
    if !arguments.any(|argument| argument == "--check") {
        return Ok(None);
    }
    let ratio = arguments.next().context("--check: which ratio?")?;
    Ok(Some(ratio.parse().with_context(|| format!("--check {ratio}"))?))
}

/// Measures, and again when the ratio is on the wrong side of the limit: `Greater` for costs,
/// `Less` for speeds. `what` is what it is a ratio of.
pub fn checked(
    limit: Option<f64>,
    wrong: Ordering,
    what: &str,
    measure: impl Fn() -> Result<f64>,
) -> Result<()> {
    for attempt in 1..=ATTEMPTS {
        let ratio = measure()?;
        match limit {
            Some(limit) if ratio.partial_cmp(&limit) != Some(wrong) => break,
            Some(limit) if attempt == ATTEMPTS => {
                bail!("{what}: {ratio:.2} in each of {ATTEMPTS} attempts, and the limit is {limit}")
            }
            Some(limit) => println!("the limit is {limit}: measuring again"),
            None => break,
        }
    }
    Ok(())
}
