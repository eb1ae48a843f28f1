//! The seed: it makes the numbers repeat, and it reaches its register and nothing else.

use super::calls::{draws, gives, refused};
use super::session::Session;
use crate::access_log::{Access, numbers_of, writes};
use crate::errno;
use crate::profile::{Ioctl, IoctlKind, Profile, Register};
use crate::stop::{Checked, Stop, ensure};

/// How many numbers are compared after a seed.
const NUMBERS: u32 = 4;
/// Seeds. No two bytes of one are equal, so that each way to mangle it can be told from others.
const SEED: u64 = 0x1234_56ab;
const OTHER_SEED: u64 = 0x0bad_cafe;

/// The same seed gives the same numbers, another one others.
pub fn seed_repeats(session: &mut Session<'_>) -> Checked {
    let profile = session.profile;
    let (seed, random) = (profile.ioctl(IoctlKind::Seed)?, profile.ioctl(IoctlKind::Random)?);
    let (rounds, accesses) = seeded(session, seed, random)?;
    let [first, again, other] = &rounds[..] else {
        return Err(Stop::failed("the calls did not come back"));
    };
    let name = &seed.name;
    ensure(first.iter().any(|number| *number != first[0]), || {
        format!(
            "after {name} with {SEED:#x}, {} gives {:#x} each time: the seed is where the numbers \
             begin, and each one is new",
            random.name, first[0]
        )
    })?;
    ensure(first == again, || not_repeated(name, first[0], again[0], &accesses))?;
    ensure(first != other, || {
        format!(
            "{name} with {SEED:#x} and with {OTHER_SEED:#x} give the same number {:#x}: is it the \
             program's seed that is written to the device?",
            first[0]
        )
    })
}

/// The device's numbers after a seed, after the same one and after another, with all accesses.
fn seeded(
    session: &mut Session<'_>,
    seed: &Ioctl,
    random: &Ioctl,
) -> Result<(Vec<Vec<u64>>, Vec<Access>), Stop> {
    let round = |value| vec![gives(seed, value), draws(random, NUMBERS)];
    let done = session.calls([SEED, SEED, OTHER_SEED].map(round).concat())?;
    let mut rounds = Vec::new();
    let length = usize::try_from(NUMBERS).unwrap_or_default() + 1;
    for chunk in done.returned.chunks(length) {
        let result = chunk[0].result;
        ensure(!errno::is_error(result), || refused(seed, result))?;
        rounds.push(session.numbers(random, &chunk[1..])?);
    }
    let drawn: usize = rounds.iter().map(Vec::len).sum();
    let given = numbers_of(session.profile, random, &done.accesses)?.len();
    ensure(given >= drawn, || {
        format!(
            "{drawn} numbers were drawn with {}, and the device was read {given} times: the numbers \
             are not the device's, whether they repeat or not",
            random.name
        )
    })?;
    Ok((rounds, done.accesses))
}

fn not_repeated(name: &str, first: u64, again: u64, accesses: &[Access]) -> String {
    let reached = match writes(accesses).is_empty() {
        true => "; nothing was written to the device",
        false => "; the check of the seed's register says what was written",
    };
    format!(
        "{name} with {SEED:#x} twice, and then come {first:#x} and {again:#x}: the same seed has to \
         give the same numbers{reached}"
    )
}

/// A seed is one write of its value to its register.
pub fn seed_register(session: &mut Session<'_>) -> Checked {
    let profile = session.profile;
    let seed = profile.ioctl(IoctlKind::Seed)?;
    let register = profile.seed_register()?;
    let done = session.calls(vec![gives(seed, SEED)])?;
    let result = done.returned.first().map_or(0, |returned| returned.result);
    ensure(!errno::is_error(result), || refused(seed, result))?;
    let written = writes(&done.accesses);
    ensure(is_right(register, &written), || why_not(profile, seed, register, &written))?;
    ensure(result == 0, || {
        format!("{} returned {result} instead of 0, and has seeded the device", seed.name)
    })?;
    session.reads_no_more(seed, SEED)
}

fn is_right(register: &Register, written: &[Access]) -> bool {
    let [access] = written else { return false };
    (access.offset, access.width, access.value) == (register.offset, register.width, SEED)
}

/// Why what was written is not a seed.
fn why_not(profile: &Profile, ioctl: &Ioctl, register: &Register, written: &[Access]) -> String {
    let name = &ioctl.name;
    let wanted =
        format!("{register} has to get {SEED:#x} in one write of {} bytes", register.width);
    let Some(first) = written.first() else {
        return format!(
            "{name} wrote nothing to the device: {wanted}; use iowrite32 or writel on the mapping \
             of BAR 0 that pci_iomap or ioremap gives"
        );
    };
    let Access { offset, value, .. } = *first;
    if written.len() > 1 {
        let all: Vec<String> = written
            .iter()
            .map(|access| format!("{:#x} to {:#x}", access.value, access.offset))
            .collect();
        return format!("{name} wrote {} times ({}): {wanted}", written.len(), all.join(", "));
    }
    if value == SEED && offset != register.offset {
        return format!(
            "{name} wrote the seed to offset {offset:#x}, where there is {}: {} is at offset {:#x}",
            profile.named_at(offset),
            register.name,
            register.offset
        );
    }
    wrong_value(name, register, first, &wanted)
}

/// What is wrong with the width or the value of a write.
fn wrong_value(name: &str, register: &Register, written: &Access, wanted: &str) -> String {
    let Access { offset, width, value, .. } = *written;
    if width != register.width {
        return format!(
            "{name} wrote {value:#x} in {width} bytes: {wanted}; use iowrite32 or writel"
        );
    }
    if value == u64::from(u32::try_from(SEED).unwrap_or_default().swap_bytes()) {
        return format!(
            "the value arrived byte-swapped: {} got {value:#x} for {SEED:#x}; use iowrite32 or \
             writel, not iowrite32be, and no cpu_to_be32 or htonl",
            register.name
        );
    }
    format!(
        "{name} with {SEED:#x} wrote {value:#x} to offset {offset:#x}: {wanted}. If that looks like \
         an address, it is the argument itself: copy_from_user or get_user fetch what it points to"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::Kind;

    fn hint(written: &[(usize, usize, u64)]) -> String {
        let profile = Profile::published().expect("it is a profile");
        let ioctl = profile.ioctl(IoctlKind::Seed).expect("there is one");
        let register = profile.seed_register().expect("there is one");
        let access =
            |&(offset, width, value): &_| Access { kind: Kind::Write, offset, width, value };
        let written: Vec<Access> = written.iter().map(access).collect();
        if is_right(register, &written) {
            return String::new();
        }
        why_not(&profile, ioctl, register, &written)
    }

    #[test]
    fn one_write_of_the_value_is_right() {
        assert_eq!(hint(&[(4, 4, SEED)]), "");
    }

    #[test]
    fn each_mistake_has_its_hint() {
        assert!(hint(&[]).contains("wrote nothing to the device"));
        assert!(hint(&[(0, 4, SEED)]).contains("offset 0x0, where there is RANDOM"));
        assert!(hint(&[(8, 4, SEED)]).contains("offset 0x8, where there is nothing"));
        assert!(hint(&[(4, 4, 0xab56_3412)]).starts_with("the value arrived byte-swapped"));
        assert!(hint(&[(4, 1, 0xab)]).contains("in 1 bytes"));
        assert!(hint(&[(4, 4, SEED), (4, 4, SEED)]).contains("wrote 2 times"));
        assert!(hint(&[(4, 4, 0x7ffd_1230)]).contains("looks like an address"));
    }
}
