//! Bulk reads.

use super::readers::{ALONE, ENDLESS, Reader, WARM_UP, time_for_endless};
use super::{Check, Subject, ensure_not_constant, numbers};
use crate::character_device::CharacterDevice;
use crate::report::Outcome;
use anyhow::{Context as _, Result, ensure};
use rustix::fs::{OFlags, SeekFrom, seek};
use rustix::io::{Errno, pread};
use rustix::process::{Signal, getpid, kill_process};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

pub const CHECKS: &[Check] = &[
    ("every length is served in full", lengths),
    ("the bytes are the numbers, low byte first", bytes_of_numbers),
    ("each read starts with a new number", reads_start_anew),
    ("O_NONBLOCK gives bytes when no other process reads", nonblocking),
    ("O_NONBLOCK does not wait for other readers", nonblocking_beside_others),
    ("there is no position to seek to", no_position),
    ("a signal ends a long read with what it has", signal_ends_read),
    ("a killed reader dies at once", killed_reader),
];

/// Around a number, around the driver's step, a page, and many steps.
const LENGTHS: [usize; 14] = [0, 1, 2, 3, 4, 5, 7, 255, 256, 257, 4095, 4096, 4097, 1 << 20];

/// How much of an endless read's time a reader may need to react to a signal.
const PART: u32 = 4;
/// How long to try to meet other readers at the device.
const TRYING: Duration = Duration::from_secs(20);

fn lengths(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    for length in LENGTHS {
        let mut buffer = vec![0; length];
        let got = device.read(&mut buffer).with_context(|| format!("reading {length} bytes"))?;
        ensure!(got == length, "{got} bytes of {length}");
        if length >= 16 {
            ensure_not_constant(&numbers(&buffer))?;
        }
    }
    Ok(Outcome::Pass)
}

fn bytes_of_numbers(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    device.seed(42)?;
    let expected = device.randoms(1000)?;
    device.seed(42)?;
    let mut buffer = [0; 4000];
    let got = device.read(&mut buffer)?;
    ensure!(got == buffer.len(), "{got} bytes of {}", buffer.len());
    ensure!(numbers(&buffer) == expected, "read() and ioctl give different numbers");
    Ok(Outcome::Pass)
}

fn reads_start_anew(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    device.seed(42)?;
    let sequence = device.randoms(4)?;
    device.seed(42)?;
    for (length, expected) in (1..=4).zip(sequence) {
        let mut buffer = [0; 4];
        device.read(&mut buffer[..length])?;
        let expected = &expected.to_le_bytes()[..length];
        ensure!(&buffer[..length] == expected, "{buffer:x?} instead of {expected:x?}");
    }
    Ok(Outcome::Pass)
}

fn nonblocking(subject: &Subject) -> Result<Outcome> {
    let device = CharacterDevice::open_with(&subject.device, OFlags::RDWR | OFlags::NONBLOCK)?;
    let mut buffer = [0; 4096];
    let got = device.read(&mut buffer)?;
    ensure!(got == buffer.len(), "{got} bytes of {}", buffer.len());
    Ok(Outcome::Pass)
}

fn nonblocking_beside_others(subject: &Subject) -> Result<Outcome> {
    let Some(_others) = Reader::several(&subject.device)? else {
        return Outcome::skip(ALONE);
    };
    let device = CharacterDevice::open_with(&subject.device, OFlags::RDWR | OFlags::NONBLOCK)?;
    let mut buffer = [0; 4096];
    let start = Instant::now();
    let mut reads = 0;
    while start.elapsed() < TRYING {
        match device.read(&mut buffer) {
            Err(Errno::AGAIN) => return Ok(Outcome::Pass),
            Ok(got) if 0 < got && got < buffer.len() => return Ok(Outcome::Pass),
            Ok(got) => ensure!(got == buffer.len(), "end of file"),
            Err(errno) => return Err(errno).context("reading beside others"),
        }
        reads += 1;
    }
    anyhow::bail!("{reads} reads got all they asked for, and others were reading all the time")
}

fn no_position(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let seeking = seek(device.fd(), SeekFrom::Start(4));
    ensure!(seeking == Err(Errno::SPIPE), "lseek() gives {seeking:?}");
    let reading = pread(device.fd(), &mut [0; 4], 4);
    ensure!(reading == Err(Errno::SPIPE), "pread() gives {reading:?}");
    Ok(Outcome::Pass)
}

fn signal_ends_read(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let endless = time_for_endless(&device)?;
    let seen = Arc::new(AtomicBool::new(false));
    let handler = signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&seen))?;
    // A process-wide signal goes to the main thread if it can, and this is the main thread.
    let sender = thread::spawn(|| {
        thread::sleep(WARM_UP);
        (Instant::now(), kill_process(getpid(), Signal::USR1))
    });
    let mut buffer = vec![0; ENDLESS];
    let got = device.read(&mut buffer);
    let returned = Instant::now();
    let (sent, sending) = sender.join().expect("the sender does not panic");
    signal_hook::low_level::unregister(handler);
    sending?;
    let got = got?;
    ensure!(got > 0 && got < ENDLESS, "{got} bytes of {ENDLESS}");
    let took = returned.saturating_duration_since(sent);
    ensure!(took < endless / PART, "returned {took:?} after the signal; all takes {endless:?}");
    Ok(Outcome::Pass)
}

fn killed_reader(subject: &Subject) -> Result<Outcome> {
    let endless = time_for_endless(&subject.open()?)?;
    let took = Reader::start(&subject.device)?.kill()?;
    ensure!(took < endless / PART, "died {took:?} after SIGKILL; all takes {endless:?}");
    Ok(Outcome::Pass)
}
