//! Measurements through the driver. They pass whatever the figures are: a loaded host is no fault
//! of the device.

use super::{Check, Subject};
use crate::report::Outcome;
use anyhow::{Result, ensure};
use my_rng_model::latency::Latency;
use serde_json::Map;
use std::time::Instant;

pub const CHECKS: &[Check] = &[("one ioctl", one_ioctl), ("bulk read", bulk_read)];

/// Enough for a 99th percentile.
const CALLS: usize = 10_000;

fn one_ioctl(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let latency = Latency::of(CALLS, || device.random().map(drop))?;
    Ok(Outcome::timed(&latency))
}

fn bulk_read(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let mut buffer = vec![0; 256 * 1024];
    let start = Instant::now();
    let got = device.read(&mut buffer)?;
    ensure!(got == buffer.len(), "{got} bytes of {}", buffer.len());
    // Rounded to whole KiB per second.
    let kibibytes = u128::try_from(got)? * 1_000_000 / 1024 / start.elapsed().as_micros().max(1);
    let mut data = Map::new();
    data.insert("kib_per_s".into(), u64::try_from(kibibytes)?.into());
    Ok(Outcome::Measured(data))
}
