//! The published ioctls.

use super::{Check, Subject, ensure_not_constant, in_own_thread};
use crate::character_device::CharacterDevice;
use crate::report::Outcome;
use anyhow::{Context as _, Result};
use rustix::fs::OFlags;
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use std::os::unix::fs::PermissionsExt as _;

pub const CHECKS: &[Check] = &[
    ("a program gets new numbers", new_numbers),
    ("a program can seed", can_seed),
    ("reading is enough to draw numbers", read_only_file),
    ("an ordinary user draws numbers and seeds", ordinary_user),
];

fn new_numbers(subject: &Subject) -> Result<Outcome> {
    ensure_not_constant(&subject.open()?.randoms(16)?)?;
    Ok(Outcome::Pass)
}

fn can_seed(subject: &Subject) -> Result<Outcome> {
    subject.open()?.seed(42)?;
    Ok(Outcome::Pass)
}

fn read_only_file(subject: &Subject) -> Result<Outcome> {
    CharacterDevice::open_with(&subject.device, OFlags::RDONLY)?.random()?;
    Ok(Outcome::Pass)
}

fn ordinary_user(subject: &Subject) -> Result<Outcome> {
    /// Reading and writing for all users.
    const ALL: u32 = 0o006;

    let mode = subject.device.metadata()?.permissions().mode();
    if mode & ALL != ALL {
        let reason = format!("the device is not for all users: mode {:#o}", mode & 0o777);
        return Outcome::skip(reason);
    }
    // A user belongs to a thread for the kernel.
    in_own_thread(|| {
        let nobody = Uid::from_raw(65534);
        set_thread_res_uid(nobody, nobody, nobody).context("becoming nobody")?;
        let device = subject.open()?;
        device.seed(42)?;
        device.random()
    })?;
    Ok(Outcome::Pass)
}
