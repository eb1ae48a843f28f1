//! The published ioctls.

use super::{Check, Group, Subject, ensure_not_constant};
use crate::character_device::CharacterDevice;
use crate::report::Outcome;
use anyhow::Result;
use rustix::fs::OFlags;

pub const CHECKS: &[Check] = &[
    check("a program gets new numbers", new_numbers),
    check("a program can seed", can_seed),
    check("reading is enough to draw numbers", read_only_file),
];

const fn check(name: &'static str, run: fn(&Subject) -> Result<Outcome>) -> Check {
    Check { group: Group::Ioctls, name, run }
}

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
