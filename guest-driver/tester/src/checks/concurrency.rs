//! Many users at once.

use super::readers::{ALONE, Reader, start_copy};
use super::{Check, Subject, ensure_not_constant, numbers};
use crate::character_device::CharacterDevice;
use crate::report::Outcome;
use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::process::{Signal, getpid, kill_process};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub const CHECKS: &[Check] = &[
    ("threads with a file each", threads),
    ("threads that share a file", shared_file),
    ("processes", processes),
    ("threads share out a seeded sequence, no number lost or doubled", shared_sequence),
    ("a signal does not end an ioctl that waits for other users", ioctl_goes_on),
];

const USERS: usize = 8;
const HAMMERING: Duration = Duration::from_millis(500);

/// Uses the device in all ways until the time is over.
pub fn hammer(path: &Path, time: Duration) -> Result<()> {
    hammer_file(&CharacterDevice::open(path)?, time)
}

fn hammer_file(device: &CharacterDevice, time: Duration) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        ensure_not_constant(&device.randoms(16)?)?;
        let mut bytes = [0; 2048];
        let got = device.read(&mut bytes).context("reading")?;
        ensure!(got == bytes.len(), "{got} bytes of {}", bytes.len());
        ensure_not_constant(&numbers(&bytes))?;
    }
    Ok(())
}

/// Runs the same in several threads; fails with the first failure.
fn in_threads<T: Send>(run: impl Fn() -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..USERS).map(|_| scope.spawn(&run)).collect();
        let results = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => Err(anyhow!("a thread panicked")),
        });
        results.collect()
    })
}

fn threads(subject: &Subject) -> Result<Outcome> {
    in_threads(|| hammer(&subject.device, HAMMERING))?;
    Ok(Outcome::Pass)
}

fn shared_file(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    in_threads(|| hammer_file(&device, HAMMERING))?;
    Ok(Outcome::Pass)
}

fn processes(subject: &Subject) -> Result<Outcome> {
    let options = ["--hammer", &HAMMERING.as_millis().to_string()];
    let start = || start_copy(&options, &subject.device, Stdio::inherit());
    let children = (0..USERS).map(|_| start()).collect::<Result<Vec<_>>>()?;
    let statuses = children.into_iter().map(|mut child| Ok(child.wait()?));
    for status in statuses.collect::<Result<Vec<_>>>()? {
        ensure!(status.success(), "one of the processes failed: {status}");
    }
    Ok(Outcome::Pass)
}

fn shared_sequence(subject: &Subject) -> Result<Outcome> {
    const EACH: usize = 500;
    const SEED: u32 = 42;

    let device = subject.open()?;
    device.seed(SEED)?;
    let mut expected = device.randoms(USERS * EACH)?;
    device.seed(SEED)?;
    let mut seen = in_threads(|| device.randoms(EACH))?.concat();
    expected.sort_unstable();
    seen.sort_unstable();
    ensure!(seen == expected, "not the numbers that one user gets for this seed");
    Ok(Outcome::Pass)
}

fn ioctl_goes_on(subject: &Subject) -> Result<Outcome> {
    /// Shorter than a wait for the device, longer than a signal's handler.
    const PAUSE: Duration = Duration::from_millis(1);

    let Some(_others) = Reader::several(&subject.device)? else {
        return Outcome::skip(ALONE);
    };
    let device = subject.open()?;
    let seen = Arc::new(AtomicBool::new(false));
    // With SA_RESTART, which asks the kernel to go on with the call.
    let handler = signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&seen))?;
    let done = AtomicBool::new(false);
    let drawing = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) && kill_process(getpid(), Signal::USR1).is_ok() {
                thread::sleep(PAUSE);
            }
        });
        let start = Instant::now();
        let mut drawing = Ok(0);
        while start.elapsed() < HAMMERING && drawing.is_ok() {
            drawing = device.random();
        }
        done.store(true, Ordering::Relaxed);
        drawing
    });
    signal_hook::low_level::unregister(handler);
    drawing?;
    ensure!(seen.load(Ordering::Relaxed), "no signal came");
    Ok(Outcome::Pass)
}
