//! What has to be refused, and how.

use super::{Check, Subject, in_own_thread};
use crate::character_device::CharacterDevice;
use crate::report::Outcome;
use crate::sys::{IOCTL_RAND, IOCTL_SEED, ioctl_on_null, seed};
use anyhow::{Context as _, Result, ensure};
use rustix::fs::OFlags;
use rustix::io::{self, Errno};
use rustix::ioctl::{Opcode, opcode};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

pub const CHECKS: &[Check] = &[
    ("an unknown ioctl is ENOTTY", unknown_ioctl),
    ("a known number with another size or direction is ENOTTY", similar_ioctl),
    ("a bad address is EFAULT in both directions", bad_address),
    ("seeding is EPERM for who may only read", seeding_needs_write),
    ("writing is EINVAL", no_write),
    ("the device still works", still_works),
];

fn ensure_fails<T: std::fmt::Debug>(result: io::Result<T>, expected: Errno) -> Result<()> {
    match result {
        Err(errno) if errno == expected => Ok(()),
        other => anyhow::bail!("{other:?} instead of {expected:?}"),
    }
}

fn unknown_ioctl(subject: &Subject) -> Result<Outcome> {
    const UNKNOWN: Opcode = opcode::none(b'q', 2);
    const OTHER_TYPE: Opcode = opcode::read::<u32>(b'r', 1);

    let device = subject.open()?;
    ensure_fails(ioctl_on_null::<UNKNOWN>(device.fd()), Errno::NOTTY)?;
    ensure_fails(ioctl_on_null::<OTHER_TYPE>(device.fd()), Errno::NOTTY)?;
    Ok(Outcome::Pass)
}

fn similar_ioctl(subject: &Subject) -> Result<Outcome> {
    const NO_DATA: Opcode = opcode::none(b'q', 1);
    const LONGER: Opcode = opcode::read::<u64>(b'q', 1);
    const BOTH_WAYS: Opcode = opcode::read_write::<u32>(b'q', 1);

    let device = subject.open()?;
    ensure_fails(ioctl_on_null::<NO_DATA>(device.fd()), Errno::NOTTY)?;
    ensure_fails(ioctl_on_null::<LONGER>(device.fd()), Errno::NOTTY)?;
    ensure_fails(ioctl_on_null::<BOTH_WAYS>(device.fd()), Errno::NOTTY)?;
    Ok(Outcome::Pass)
}

fn bad_address(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    ensure_fails(ioctl_on_null::<IOCTL_RAND>(device.fd()), Errno::FAULT).context("random")?;
    ensure_fails(ioctl_on_null::<IOCTL_SEED>(device.fd()), Errno::FAULT).context("seed")?;
    Ok(Outcome::Pass)
}

fn seeding_needs_write(subject: &Subject) -> Result<Outcome> {
    let device = CharacterDevice::open_with(&subject.device, OFlags::RDONLY)?;
    // Capabilities belong to a thread.
    let attempt = in_own_thread(|| {
        let mut sets = capabilities(None)?;
        sets.effective = CapabilitySet::empty();
        set_capabilities(None, sets)?;
        io::Result::Ok(seed(device.fd(), 42))
    });
    let seeding = attempt.context("dropping capabilities")?;
    ensure_fails(seeding, Errno::PERM)?;
    Ok(Outcome::Pass)
}

fn no_write(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    ensure_fails(io::write(device.fd(), &[0; 4]), Errno::INVAL)?;
    Ok(Outcome::Pass)
}

fn still_works(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    device.seed(42)?;
    let numbers = device.randoms(2)?;
    ensure!(numbers[0] != numbers[1], "twice {:#x}", numbers[0]);
    Ok(Outcome::Pass)
}
