//! A device in its turn.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Guest;
use serde_json::Value;

use crate::cost::Usage;

/// How long a round may take on a loaded machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(300);

/// What a round has found. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Measurement {
    /// Throughput of a long read.
    pub kib_per_s: f64,
    /// A read of 64 bytes.
    pub p50: f64,
    pub p90: f64,
    pub mean: f64,
    /// Processor time of the server for each request.
    pub busy: f64,
    /// How often it went to sleep.
    pub sleeps: f64,
}

/// A device of a guest.
#[derive(Debug)]
pub struct Contender {
    pub name: &'static str,
    /// Which guest has it.
    guest: usize,
    /// The number that the guest's driver gives it.
    device: usize,
    /// The process that serves it, unless that is QEMU.
    pub process: Option<u32>,
    rounds: Vec<Measurement>,
}

impl Contender {
    pub fn new(name: &'static str, guest: usize, device: usize, process: Option<u32>) -> Self {
        Self { name, guest, device, process, rounds: Vec::new() }
    }

    /// Forgets what was measured, and reads once without measuring.
    pub fn warm_up(&mut self, guests: &mut [Guest<'_>], requests: usize) -> Result<()> {
        self.rounds.clear();
        self.read(guests, requests).map(drop)
    }

    /// Measures so many requests one by one, and as many in one read.
    pub fn round(&mut self, guests: &mut [Guest<'_>], requests: usize) -> Result<()> {
        let before = self.usage()?;
        let report = self.read(guests, requests)?;
        let after = self.usage()?;
        // Whether the guest's number is that of the device that is meant.
        ensure!(
            self.process.is_none() || after != before,
            "{}: its server slept while the guest read from device {}",
            self.name,
            self.device
        );
        let figure = |name: &str| report[name].as_f64().with_context(|| format!("no {name}"));
        let made = figure("requests")?;
        self.rounds.push(Measurement {
            kib_per_s: figure("kib_per_s")?,
            p50: figure("p50_us")?,
            p90: figure("p90_us")?,
            mean: figure("mean_us")?,
            busy: (after.busy_ns - before.busy_ns) as f64 / 1e3 / made,
            sleeps: (after.sleeps - before.sleeps) as f64 / made,
        });
        Ok(())
    }

    /// Makes the guest read, and returns how many requests that took.
    pub fn serve(&self, guests: &mut [Guest<'_>], requests: usize) -> Result<f64> {
        self.read(guests, requests)?["requests"].as_f64().context("no requests")
    }

    /// Makes the guest read, and returns the report of the program there that did.
    fn read(&self, guests: &mut [Guest<'_>], requests: usize) -> Result<Value> {
        let guest = guests.get_mut(self.guest).context("no such guest")?;
        let command = format!(
            "echo virtio_rng.{} >/sys/class/misc/hw_random/rng_current &&
             my-rng-tester --device /dev/hwrng --time-reads {requests}",
            self.device
        );
        let output = guest.try_run_for(&command, WAIT_TIMEOUT)?;
        ensure!(output.status == 0, "{}: the guest cannot read: {}", self.name, output.text);
        serde_json::from_str(&output.text)
            .with_context(|| format!("the tester said {:?}", output.text))
    }

    fn usage(&self) -> Result<Usage> {
        self.process.map_or(Ok(Usage::default()), Usage::of)
    }

    /// The median of a figure over all rounds.
    pub fn median(&self, figure: fn(&Measurement) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }

    /// The median over all rounds of what this one's figure is of another one's.
    pub fn ratio(&self, other: &Contender, figure: fn(&Measurement) -> f64) -> f64 {
        let rounds = self.rounds.iter().zip(&other.rounds);
        median(rounds.map(|(one, other)| figure(one) / figure(other)).collect())
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
