//! Timing of a device's reads, for the benchmark on the host that starts this program in a guest.

use anyhow::{Context as _, Result};
use my_rng_model::latency::Latency;
use serde_json::json;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the kernel's hwrng core asks a device for at once.
const PIECE: usize = 64;
/// One read in so many more goes before, untimed.
const WARM_UP: usize = 10;

/// Prints, as JSON, how long each of `count` reads of 64 bytes takes, the throughput of one read of
/// as many bytes, and how many requests all of it was.
pub fn time(device: &Path, count: usize) -> Result<()> {
    let mut file = File::open(device).with_context(|| device.display().to_string())?;
    let mut piece = [0; PIECE];
    let untimed = count / WARM_UP;
    for _ in 0..untimed {
        file.read_exact(&mut piece)?;
    }
    let latency = Latency::of(count, || file.read_exact(&mut piece))?;
    let mut whole = vec![0; count * PIECE];
    let start = Instant::now();
    file.read_exact(&mut whole)?;
    let seconds = start.elapsed().as_secs_f64();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let report = json!({
        "requests": untimed + 2 * count,
        "p50_us": micros(latency.percentile(50)),
        "p90_us": micros(latency.percentile(90)),
        "mean_us": micros(latency.mean()),
        "kib_per_s": whole.len() as f64 / 1024.0 / seconds,
    });
    println!("{report}");
    Ok(())
}
