//! The device interrupts the guest, and stops when that is acknowledged.

use super::session::{Session, get};
use super::test_module::{count, counts, load, rearm, wait_for};
use crate::profile::{Interrupt, Register};
use crate::stop::{Checked, Stop, ensure};

/// How often it is raised: what is left of one would show at the next.
const ROUNDS: u32 = 3;
/// How often a pin that is not asserted any more may interrupt all the same: QEMU may have been about
/// to.
const LATE: u32 = 2;

/// Every cause interrupts once, by the vector that is meant.
pub fn interrupts(session: &mut Session<'_>, interrupt: &Interrupt) -> Checked {
    let register = session.profile().register(&interrupt.raised_by.register)?;
    // What an earlier check has left.
    session.write(&interrupt.acknowledged_by)?;
    let found = load(session, Some(interrupt.kind), interrupt.vector + 1)?;
    let mut before = wait_none(session, register)?;
    if found == "intx" && before > 0 {
        // An interrupt controller may have kept one of an earlier check; a pin that is asserted
        // interrupts again.
        rearm(session)?;
        before = wait_none(session, register)? - before;
    }
    ensure(before == 0, || {
        format!(
            "{before} interrupts come before {:#x} is written to {register}",
            interrupt.raised_by.value
        )
    })?;
    for round in 0..ROUNDS {
        if found == "intx" {
            pin(session, interrupt, register, round)?;
        } else {
            message(session, interrupt, register, round)?;
        }
    }
    Ok(())
}

/// How many interrupts have come, after those that are on their way had time to.
fn wait_none(session: &mut Session<'_>, register: &Register) -> Result<u32, Stop> {
    session.bench()?.shell("usleep 50000")?;
    session.values(vec![get(register)])?;
    count(session)
}

/// What to say when no interrupt comes.
fn none_comes(interrupt: &Interrupt, register: &Register, round: u32) -> String {
    let time = if round == 0 { "" } else { ", after an earlier one was acknowledged" };
    format!(
        "no interrupt comes after {:#x} is written to {register}{time}",
        interrupt.raised_by.value
    )
}

/// A message: one for each cause, by its vector.
fn message(
    session: &mut Session<'_>,
    interrupt: &Interrupt,
    register: &Register,
    round: u32,
) -> Checked {
    session.write(&interrupt.raised_by)?;
    let come = wait_for(session, round + 1, register)?;
    ensure(come > round, || none_comes(interrupt, register, round))?;
    session.write(&interrupt.acknowledged_by)?;
    wait_none(session, register)?;
    let counts = counts(session)?;
    let vector = usize::from(interrupt.vector);
    ensure(counts.get(vector) == counts.iter().max(), || {
        format!(
            "the interrupts come by another vector than {vector}: by vector they are {counts:?}"
        )
    })?;
    let sum: u32 = counts.iter().sum();
    ensure(sum == round + 1, || {
        format!(
            "{sum} interrupts come for {} writes of {:#x} to {register}: one each is right",
            round + 1,
            interrupt.raised_by.value
        )
    })
}

/// A pin: it is asserted until the interrupt is acknowledged, and no longer.
fn pin(
    session: &mut Session<'_>,
    interrupt: &Interrupt,
    register: &Register,
    round: u32,
) -> Checked {
    let before = count(session)?;
    session.write(&interrupt.raised_by)?;
    let come = wait_for(session, before + 1, register)?;
    ensure(come > before, || none_comes(interrupt, register, round))?;
    rearm(session)?;
    let again = wait_for(session, come + 1, register)?;
    let acknowledged = &interrupt.acknowledged_by;
    let acknowledgement =
        format!("a write of {:#x} to {}", acknowledged.value, acknowledged.register);
    ensure(again > come, || {
        format!(
            "the interrupt pin is asserted for a moment only: it stays so until {acknowledgement}"
        )
    })?;
    session.write(acknowledged)?;
    for _ in 0..=LATE {
        let before = wait_none(session, register)?;
        rearm(session)?;
        if wait_none(session, register)? == before {
            return Ok(());
        }
    }
    Err(Stop::failed(format!(
        "the interrupt pin stays asserted after {acknowledgement}: the guest is interrupted again and \
         again"
    )))
}
