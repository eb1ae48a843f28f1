//! What the registers do when they are read and written whole.

use exerciser::{RegisterAccess, Step};

use super::session::{Session, get, set};
use crate::profile::{Profile, Register, RegisterKind, SeedReads};
use crate::report::Failure;
use crate::stop::{Checked, Stop, ensure};

/// How many numbers are drawn.
const NUMBERS: usize = 8;
/// Seeds.
pub const SEED: u64 = 0x1234_56ab;
const OTHER_SEED: u64 = 0x0bad_cafe;

/// Every read of a random register is another number.
pub fn random(session: &mut Session<'_>) -> Checked {
    for register in of_kind(session.profile(), RegisterKind::Random) {
        let values = session.values(vec![get(register); NUMBERS])?;
        // Two equal ones are possible, in a narrow register more.
        ensure(distinct(&values) > NUMBERS / 2, || {
            format!(
                "{NUMBERS} reads of {register} give {} different numbers ({}): each read has to \
                 take the next number",
                distinct(&values),
                hex(&values)
            )
        })?;
    }
    for register in of_kind(session.profile(), RegisterKind::HighHalf) {
        high_half(session, register)?;
    }
    session.draws = true;
    Ok(())
}

/// A read of the lower half takes the next number; reads of the upper half only show it.
fn high_half(session: &mut Session<'_>, high: &Register) -> Checked {
    let low = session.profile().low_half_of(high)?;
    let values = session.values([get(low), get(high), get(high)].repeat(NUMBERS))?;
    let twice: Vec<&[u64]> = values.chunks(3).map(|chunk| &chunk[1..]).collect();
    if let Some([one, two]) = twice.iter().find(|pair| pair[0] != pair[1]) {
        return Err(Stop::failed(format!(
            "{high} reads as {one:#x} and then as {two:#x}, without a read of {low} in between: \
             that one takes a number, and this one shows the upper half of it"
        )));
    }
    let halves: Vec<u64> = twice.iter().map(|pair| pair[0]).collect();
    ensure(distinct(&halves) > NUMBERS / 2, || {
        format!(
            "{high} gives {} after {NUMBERS} reads of {low}: each of those has to take the next \
             number, and keep its upper half",
            hex(&halves)
        )
    })
}

/// How many different values there are.
fn distinct(values: &[u64]) -> usize {
    values.iter().collect::<std::collections::BTreeSet<_>>().len()
}

fn of_kind(profile: &Profile, kind: RegisterKind) -> Vec<&Register> {
    profile.registers.iter().filter(|register| register.kind == kind).collect()
}

/// Values for a person.
pub fn hex(values: &[u64]) -> String {
    values.iter().map(|value| format!("{value:#x}")).collect::<Vec<_>>().join(", ")
}

/// The numbers after a seed, of all random registers in turn.
pub fn seeded(session: &mut Session<'_>, seed: u64, rounds: usize) -> Result<Vec<u64>, Stop> {
    let profile = session.profile();
    let mut accesses = vec![set(profile.seed_register()?, seed)];
    for _ in 0..rounds {
        accesses.extend(of_kind(profile, RegisterKind::Random).into_iter().map(get));
    }
    session.values(accesses)
}

/// What a seed does, and what does not disturb it.
pub fn seed(session: &mut Session<'_>) -> Checked {
    let register = session.profile().seed_register()?;
    let name = &register.name;
    let first = seeded(session, SEED, NUMBERS)?;
    let again = seeded(session, SEED, NUMBERS)?;
    ensure(first == again, || {
        format!(
            "{SEED:#x} written to {register} twice, and then come {} and {}: the same seed has to \
             give the same numbers",
            hex(&first[..2]),
            hex(&again[..2])
        )
    })?;
    if distinct(&first) <= NUMBERS / 2 && !session.draws {
        return Err(Failure::same_cause("device-random").into());
    }
    ensure(distinct(&first) > NUMBERS / 2, || {
        format!(
            "after a seed the same numbers come again and again ({}): a read has to take the next \
             number, and not to seed again",
            hex(&first[..4])
        )
    })?;
    let other = seeded(session, OTHER_SEED, NUMBERS)?;
    ensure(first != other, || {
        format!(
            "{SEED:#x} and {OTHER_SEED:#x} written to {name} give the same numbers: the seed is \
                 not used"
        )
    })?;
    session.repeats = true;
    undisturbed(session, &first)
}

/// The first numbers after a seed come whatever else is read or written in between.
fn undisturbed(session: &mut Session<'_>, first: &[u64]) -> Checked {
    let register = session.profile().seed_register()?;
    let random = session.profile().random_register()?;
    let random_before = of_kind(session.profile(), RegisterKind::Random).len() == 1;
    let accesses = [
        (get(register), format!("a read of {}", register.name)),
        (set(random, OTHER_SEED), format!("a write to {}", random.name)),
    ];
    for (access, what) in accesses {
        let values = session.values(vec![set(register, SEED), get(random), access, get(random)])?;
        let (one, two) = (values.first(), values.last());
        let right = !random_before || (one == first.first() && two == first.get(1));
        ensure(right, || {
            format!(
                "{what} disturbs the numbers: after the seed come {} instead of {}",
                hex(&[values[0], *two.unwrap_or(&0)]),
                hex(&first[..2])
            )
        })?;
    }
    Ok(())
}

/// The register that takes the seed reads as the profile says.
pub fn seed_reads(session: &mut Session<'_>, reads: SeedReads) -> Checked {
    let register = session.profile().seed_register()?;
    let wanted = match reads {
        SeedReads::Zero => 0,
        SeedReads::Written => SEED & register.bits(),
        SeedReads::Unspecified => return Ok(()),
    };
    let read = session.values(vec![set(register, SEED), get(register)])?;
    ensure(read == [wanted], || {
        format!(
            "{register} reads as {} after a write of {SEED:#x}, instead of {wanted:#x}",
            hex(&read)
        )
    })
}

/// What is not a register reads as 0 and ignores writes.
pub fn rest(session: &mut Session<'_>) -> Checked {
    let profile = session.profile();
    let ranges = empty(profile);
    let random = profile.random_register()?;
    let expected = seeded(session, SEED, 1)?;
    for write in [false, true] {
        let mut accesses = vec![set(profile.seed_register()?, SEED)];
        for &(from, to) in &ranges {
            if write {
                accesses.push(RegisterAccess::WriteRange { from, to, value: u32::MAX });
            }
            accesses.push(RegisterAccess::ReadRange { from, to });
        }
        accesses.push(get(random));
        let steps = session.accesses(accesses)?;
        let after = if write { "after a write of 0xffffffff" } else { "at first" };
        for step in &steps {
            if let Step::RangeRead(Some((offset, value))) = step {
                return Err(Stop::failed(format!(
                    "offset {offset:#x}, where there is no register, reads as {value:#x} {after} \
                     instead of 0"
                )));
            }
        }
        ensure(steps.last() == expected.first().map(|first| Step::Read(*first)).as_ref(), || {
            let what = if write { "written" } else { "read" };
            format!(
                "the numbers after a seed are others when the rest of the page is {what}: an offset \
                 that is no register does something; are the offsets compared whole?"
            )
        })?;
    }
    Ok(())
}

/// The ranges between the registers, in multiples of 4.
fn empty(profile: &Profile) -> Vec<(usize, usize)> {
    let taken = |offset: usize| {
        let word = offset..offset + 4;
        profile
            .registers
            .iter()
            .any(|register| register.offset < word.end && word.start < register.range().end)
    };
    let words = (0..profile.device.bar_size).step_by(4);
    let free: Vec<usize> = words.filter(|offset| !taken(*offset)).collect();
    let runs = free.chunk_by(|one, next| one + 4 == *next);
    runs.map(|run| (run[0], run[run.len() - 1] + 4)).collect()
}

/// A register that keeps a value.
pub fn keeps(session: &mut Session<'_>, name: &str) -> Checked {
    let register = session.profile().register(name)?;
    let first = session.values(vec![get(register)])?;
    ensure(first == [register.reset], || {
        format!("{register} is {} at first instead of {:#x}", hex(&first), register.reset)
    })?;
    for value in [register.bits(), 0x5555_5555_5555_5555 & register.bits(), 0] {
        let read = session.values(vec![set(register, value), get(register)])?;
        let kept = value & register.kept();
        ensure(read == [kept], || {
            format!(
                "{register} reads as {} after a write of {value:#x}; the bits that it keeps are \
                 {:#x}, so that is {kept:#x}",
                hex(&read),
                register.kept()
            )
        })?;
    }
    session.values(vec![set(register, register.reset)])?;
    Ok(())
}

/// After a reset it works, and what keeps a value has its first one.
pub fn reset(session: &mut Session<'_>) -> Checked {
    let before = seeded(session, SEED, 2)?;
    let values = of_kind(session.profile(), RegisterKind::Value);
    session.values(values.iter().map(|register| set(register, register.kept())).collect())?;
    session.bench()?.reset()?;
    for register in values {
        let read = session.values(vec![get(register)])?;
        ensure(read == [register.reset], || {
            format!(
                "{register} is {} after a reset instead of {:#x}: Device::reset has to set it",
                hex(&read),
                register.reset
            )
        })?;
    }
    if !session.repeats {
        // That is told by device-seed; here it is enough that the device answers.
        session.values(vec![get(session.profile().random_register()?)])?;
        return Ok(());
    }
    let after = seeded(session, SEED, 2)?;
    ensure(before == after, || {
        format!(
            "after a reset, the seed {SEED:#x} gives {} instead of {}",
            hex(&after),
            hex(&before)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_page_is_what_is_behind_the_registers() {
        let profile = Profile::published().expect("it is a profile");
        assert_eq!(empty(&profile), [(8, 4096)]);
    }
}
