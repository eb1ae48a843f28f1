//! A register whose bits the device sets, and a write of ones clears.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::registers::hex;
use super::session::{Session, get, set};
use crate::profile::Register;
use crate::stop::{Checked, Stop, ensure};

/// How many reads are made at once while a bit is waited for.
const READS: usize = 16;

/// The bits are set after what sets them, stay set with zeros written, and go with ones written.
pub fn clears(session: &mut Session<'_>, name: &str) -> Checked {
    let profile = session.profile();
    let register = profile.register(name)?;
    let by = register.set_by.as_ref().context("the profile says what sets the bits")?;
    let command = profile.register(&by.register)?;
    let bits = register.kept();
    let cause = format!("{:#x} written to {command}", by.value);
    let first = session.values(vec![get(register)])?;
    ensure(first == [register.reset], || {
        format!("{register} is {} at first instead of {:#x}", hex(&first), register.reset)
    })?;
    // The second time, what was left of the first one would show.
    for time in ["", " once more"] {
        session.values(vec![set(command, by.value)])?;
        let seen = wait(session, register, bits)?;
        ensure(seen & bits == bits, || {
            format!(
                "{register} is {seen:#x} after {cause}{time}, and does not get the bits {bits:#x}"
            )
        })?;
        let kept = session.values(vec![set(register, 0), get(register)])?;
        ensure(kept.iter().all(|value| value & bits == bits), || {
            format!(
                "a write of 0 to {register} leaves {} of {seen:#x}: only bits that are written as \
                 1 are cleared",
                hex(&kept)
            )
        })?;
        let left = session.values(vec![set(register, bits), get(register)])?;
        ensure(left.iter().all(|value| value & bits == 0), || {
            format!(
                "a write of {bits:#x} to {register} leaves {}: a bit that is written as 1 is \
                 cleared",
                hex(&left)
            )
        })?;
    }
    Ok(())
}

/// Reads a register until it has some bits, or the time for that is over, and returns what was read
/// last.
pub fn wait(session: &mut Session<'_>, register: &Register, bits: u64) -> Result<u64, Stop> {
    let usual = session.profile().seconds.call;
    let time = Duration::from_secs(session.bench()?.seconds(usual));
    let begun = Instant::now();
    loop {
        let values = session.values(vec![get(register); READS])?;
        let last = values.last().copied().unwrap_or_default();
        if last & bits == bits || begun.elapsed() > time {
            return Ok(last);
        }
    }
}
