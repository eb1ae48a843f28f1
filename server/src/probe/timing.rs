//! What a register read costs, from this process to the server and back.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use my_rng_model::latency::Latency;

use super::device::Device;
use super::pci::header;
use super::region::{RegionId, Register, Width, parse_number};

/// The most reads at once: each is remembered, in 16 bytes.
const MAX_READS: i64 = 10_000_000;
/// One read in so many more goes before, untimed.
const WARM_UP: usize = 10;

/// `probe SOCKET time`.
#[derive(Clone, Copy, Debug, Args)]
pub struct Time {
    /// How many reads to time.
    #[arg(default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=MAX_READS))]
    count: u32,
    /// The number of a BAR, or "config". Without it, what is read are the vendor and device id in
    /// configuration space, which has no effect on any device.
    #[arg(requires_all = ["offset", "width"])]
    bar: Option<RegionId>,
    /// Where the register is in it, in bytes.
    #[arg(value_parser = parse_number)]
    offset: Option<u64>,
    /// Bytes to read at once: 1, 2, 4 or 8.
    width: Option<Width>,
}

impl Time {
    /// Times reads and prints what came out.
    ///
    /// # Errors
    /// There is no such register, or the server fails.
    pub fn run(&self, device: &mut Device, out: &mut impl Write) -> anyhow::Result<()> {
        let register = self.register();
        device.check_register(register)?;
        let count = usize::try_from(self.count)?;
        for _ in 0..count / WARM_UP {
            device.read(register)?;
        }
        let latency = Latency::of(count, || device.read(register).map(drop))?;
        writeln!(out, "{count} reads of {register}")?;
        for percent in [50, 90, 99] {
            writeln!(out, "p{percent}  {:>9.2} us", micros(latency.percentile(percent)))?;
        }
        let mean = latency.mean();
        writeln!(out, "mean {:>9.2} us", micros(mean))?;
        writeln!(out, "rate {:>9.0} reads/s", 1.0 / mean.as_secs_f64())?;
        Ok(())
    }

    fn register(&self) -> Register {
        match (self.bar, self.offset, self.width) {
            (Some(region), Some(offset), Some(width)) => Register { region, offset, width },
            _ => {
                Register { region: RegionId::CONFIG, offset: header::VENDOR_ID, width: Width::FOUR }
            }
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
