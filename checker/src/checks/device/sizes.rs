//! What the registers do when they are read and written in parts, or two at once.

use super::registers::{SEED, hex};
use super::session::{Session, get, read, set, write};
use crate::profile::SeedReads;
use crate::stop::{Checked, ensure};

/// Accesses of one and two bytes, and those inside of registers.
pub fn narrow(session: &mut Session<'_>) -> Checked {
    narrow_reads(session)?;
    narrow_writes(session)
}

fn narrow_reads(session: &mut Session<'_>) -> Checked {
    let profile = session.profile();
    let (random, seed) = (profile.random_register()?, profile.seed_register()?);
    let at = random.offset;
    let numbers = session.values(vec![set(seed, SEED), get(random), get(random), get(random)])?;
    let parts = session.values(vec![set(seed, SEED), read(at, 1), read(at, 2), get(random)])?;
    let wanted = [numbers[0] & 0xff, numbers[1] & 0xffff, numbers[2]];
    ensure(parts == wanted, || {
        format!(
            "after the seed {SEED:#x}, reads of 1, 2 and 4 bytes of {random} give {} instead of {}: \
             a read of any size takes one new number, and has its low bytes",
            hex(&parts),
            hex(&wanted)
        )
    })?;
    reads_inside(session, numbers[0])?;
    if seed.reads != SeedReads::Zero {
        return Ok(());
    }
    let zeros = session.values(vec![read(seed.offset, 1), read(seed.offset, 2)])?;
    ensure(zeros == [0, 0], || {
        format!("reads of 1 and 2 bytes of {seed} give {} instead of 0", hex(&zeros))
    })
}

/// Reads inside of the random register give nothing, and do not take the first number.
fn reads_inside(session: &mut Session<'_>, first: u64) -> Checked {
    let profile = session.profile();
    let (random, seed) = (profile.random_register()?, profile.seed_register()?);
    let at = random.offset;
    let inside = [(1, 1), (2, 1), (3, 1), (2, 2)];
    let mut accesses = vec![set(seed, SEED)];
    accesses.extend(inside.iter().map(|(offset, width)| read(at + offset, *width)));
    accesses.push(get(random));
    let values = session.values(accesses)?;
    for ((offset, width), value) in inside.iter().zip(&values) {
        ensure(*value == 0, || {
            format!(
                "a read of {width} bytes at {:#x}, inside of {}, gives {value:#x} instead of 0: only \
                 an access at the register's own offset is one of the register",
                at + offset,
                random.name
            )
        })?;
    }
    ensure(values.last() == Some(&first), || {
        format!("reads inside of {}, behind its offset, take numbers", random.name)
    })
}

fn narrow_writes(session: &mut Session<'_>) -> Checked {
    let profile = session.profile();
    let (random, seed) = (profile.random_register()?, profile.seed_register()?);
    for (width, value) in [(1, 0x12), (2, 0x1234)] {
        let whole = session.values(vec![set(seed, value), get(random)])?;
        let part =
            session.values(vec![set(seed, SEED), write(seed.offset, width, value), get(random)])?;
        ensure(whole == part, || {
            format!(
                "a write of {width} bytes, {value:#x}, to {seed} does not seed as a write of 4 does: \
                 then comes {} instead of {}",
                hex(&part),
                hex(&whole)
            )
        })?;
    }
    let expected = session.values(vec![set(seed, SEED), get(random)])?;
    let values = session.values(vec![
        set(seed, SEED),
        write(seed.offset + 1, 1, 9),
        write(seed.offset + 2, 2, 9),
        get(random),
    ])?;
    ensure(values == expected, || {
        format!(
            "a write inside of {}, behind its offset, seeds: only an access at the register's own \
             offset is one of the register",
            seed.name
        )
    })
}

/// Eight bytes are two registers, when there is one on each side.
pub fn wide(session: &mut Session<'_>) -> Checked {
    let profile = session.profile();
    let (random, seed) = (profile.random_register()?, profile.seed_register()?);
    if random.offset % 8 != 0 || random.width != 4 || seed.range().start != random.range().end {
        return Ok(());
    }
    let numbers = session.values(vec![set(seed, SEED), get(random), get(random)])?;
    let values = session.values(vec![set(seed, SEED), read(random.offset, 8), get(random)])?;
    ensure(values == numbers, || {
        format!(
            "after the seed {SEED:#x}, a read of 8 bytes of {random} and one of 4 give {} instead of \
             {}: 8 bytes are two accesses of 4, {} and then {}, which reads as 0",
            hex(&values),
            hex(&numbers),
            random.name,
            seed.name
        )
    })?;
    let values = session.values(vec![write(random.offset, 8, SEED << 32), get(random)])?;
    ensure(values[..] == numbers[..1], || {
        format!(
            "a write of 8 bytes at {:#x} has to seed with its upper half: then comes {} instead of \
             {:#x}",
            random.offset,
            hex(&values),
            numbers[0]
        )
    })
}
