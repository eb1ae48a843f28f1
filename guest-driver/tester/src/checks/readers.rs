//! Other processes in the middle of one read that does not end by itself, for checks that need the
//! device to be busy.

use crate::character_device::CharacterDevice;
use anyhow::{Context as _, Result, ensure};
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Many seconds of work for the fastest device: a signal comes long before the end.
pub const ENDLESS: usize = 16 << 20;
/// Long enough for a read that is about to start to be under way.
pub const WARM_UP: Duration = Duration::from_millis(200);

/// More than processors that are usual in a guest, so that some wait for the device's lock.
const SEVERAL: usize = 4;
/// Why a check is skipped without them.
pub const ALONE: &str = "needs a second processor, for others to use the device meanwhile";

/// What a reader does: says so, and reads once.
pub fn read_once(path: &Path) -> Result<()> {
    let device = CharacterDevice::open(path)?;
    let mut buffer = vec![0; ENDLESS];
    println!("reading");
    let got = device.read(&mut buffer)?;
    println!("{got} bytes");
    Ok(())
}

/// How long the read would take if nothing ended it, as a part of it tells.
pub fn time_for_endless(device: &CharacterDevice) -> Result<Duration> {
    const PARTS: usize = 1 << 10;

    let mut part = vec![0; ENDLESS / PARTS];
    let start = Instant::now();
    let got = device.read(&mut part)?;
    ensure!(got == part.len(), "{got} bytes of {}", part.len());
    Ok(start.elapsed() * u32::try_from(PARTS)?)
}

/// Starts a copy of this program that uses the device.
pub fn start_copy(options: &[&str], device: &Path, output: Stdio) -> Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(options).arg("--device").arg(device).stdin(Stdio::null()).stdout(output);
    command.spawn().context("starting a copy of this program")
}

/// A process that reads; it is killed when the value goes.
#[derive(Debug)]
pub struct Reader(Child);

impl Reader {
    /// Starts one and waits until its read is under way.
    pub fn start(path: &Path) -> Result<Self> {
        let mut reader = Self(start_copy(&["--read-once"], path, Stdio::piped())?);
        let pipe = reader.0.stdout.as_mut().context("its standard output is a pipe")?;
        pipe.read_exact(&mut [0; b"reading\n".len()]).context("a copy of this program")?;
        thread::sleep(WARM_UP);
        Ok(reader)
    }

    /// Starts several, or nothing where they would not be met at the device: on a single
    /// processor, a kernel that is not preempted changes programs only between two steps of a
    /// read, when the device is free.
    pub fn several(path: &Path) -> Result<Option<Vec<Self>>> {
        if thread::available_parallelism()?.get() == 1 {
            return Ok(None);
        }
        (0..SEVERAL).map(|_| Self::start(path)).collect::<Result<_>>().map(Some)
    }

    /// Kills it in the middle of its read, and says how long it took to die.
    pub fn kill(mut self) -> Result<Duration> {
        ensure!(self.0.try_wait()?.is_none(), "the read ended before it was to be killed");
        self.0.kill()?;
        let killed = Instant::now();
        self.0.wait()?;
        Ok(killed.elapsed())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
