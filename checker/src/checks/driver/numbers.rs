//! The numbers that programs get are those that the device gave.

use super::calls::draws;
use super::session::Session;
use crate::access_log::{Access, Kind, numbers_of};
use crate::profile::{Ioctl, IoctlKind, Profile};
use crate::stop::{Checked, Stop, ensure};

/// How many numbers are drawn.
const NUMBERS: u32 = 8;
/// How many numbers each of two processes draws.
const AT_ONCE: u32 = 100;

/// Each number is a new one, and the device's.
pub fn random(session: &mut Session<'_>) -> Checked {
    let profile = session.profile;
    for ioctl in profile.ioctls.iter().filter(|ioctl| ioctl.kind == IoctlKind::Random) {
        let done = session.calls(vec![draws(ioctl, NUMBERS)])?;
        let numbers = session.numbers(ioctl, &done.returned)?;
        whole_registers(profile, &done.accesses)?;
        if !are_given(profile, ioctl, &numbers, &done.accesses)? {
            let others = other_processes_numbers(session, ioctl, &numbers)?;
            let what = Wrong { numbers: &numbers, others: &others, bar: session.before.bar };
            return Err(Stop::failed(why_not(profile, ioctl, &what, &done.accesses)?));
        }
        in_order(profile, ioctl, &done.accesses)?;
        let first = numbers.first().copied().unwrap_or_default();
        if numbers.iter().all(|number| *number == first) {
            return Err(Stop::failed(format!(
                "{} gives the same number each time: {first:#x}",
                ioctl.name
            )));
        }
    }
    Ok(())
}

/// Checks that registers are read whole.
fn whole_registers(profile: &Profile, accesses: &[Access]) -> Checked {
    let wrong = accesses.iter().find_map(|access| {
        let register = profile.register_at(access.offset)?;
        let whole = register.offset != access.offset || register.width == access.width;
        (access.kind == Kind::Read && !whole).then_some((access, register.width))
    });
    let Some((access, width)) = wrong else { return Ok(()) };
    Err(Stop::failed(format!(
        "the driver reads {} bytes at {:#x} where the register has {width}: use ioread{} or read{}",
        access.width,
        access.offset,
        8 * width,
        if width == 4 { "l" } else { "w" },
    )))
}

/// Whether numbers are those that the device gave, in their order.
fn are_given(
    profile: &Profile,
    ioctl: &Ioctl,
    numbers: &[u64],
    accesses: &[Access],
) -> Result<bool, Stop> {
    let given = numbers_of(profile, ioctl, accesses)?;
    let mut rest = given.iter();
    Ok(numbers.iter().all(|number| rest.any(|given| given == number)))
}

/// What two more processes draw at once, when a number is the same each time: half the address of a
/// variable on the stack is another one in each process, a constant is not.
fn other_processes_numbers(
    session: &mut Session<'_>,
    ioctl: &Ioctl,
    numbers: &[u64],
) -> Result<Vec<u64>, Stop> {
    if numbers.windows(2).any(|pair| pair[0] != pair[1]) {
        return Ok(Vec::new());
    }
    let done = session.calls_by(vec![draws(ioctl, 1)], 2)?;
    session.numbers(ioctl, &done.returned)
}

/// Checks that a number's parts are read in their order.
fn in_order(profile: &Profile, ioctl: &Ioctl, accesses: &[Access]) -> Checked {
    let wanted: Vec<usize> =
        profile.registers_of(ioctl)?.iter().map(|register| register.offset).collect();
    let reads = accesses.iter().filter(|access| access.kind == Kind::Read);
    let read: Vec<usize> =
        reads.map(|access| access.offset).filter(|offset| wanted.contains(offset)).collect();
    ensure(read.chunks(wanted.len()).all(|chunk| chunk == wanted), || {
        format!(
            "{} has to read {} in this order: the first read takes a new number, and the next ones \
             the rest of it",
            ioctl.name,
            ioctl.registers.join(" and then ")
        )
    })
}

/// Numbers that are not the device's.
struct Wrong<'a> {
    numbers: &'a [u64],
    /// What other processes got, when all numbers are the same.
    others: &'a [u64],
    /// Where BAR 0 is.
    bar: u64,
}

/// Why numbers are not those of the device.
fn why_not(
    profile: &Profile,
    ioctl: &Ioctl,
    wrong: &Wrong<'_>,
    accesses: &[Access],
) -> Result<String, Stop> {
    let name = &ioctl.name;
    let first = wrong.numbers.first().copied().unwrap_or_default();
    let expected = ioctl.registers.join(" and ");
    let looks = if looks_like_addresses(wrong.numbers) || looks_like_addresses(wrong.others) {
        ", which looks like a kernel address"
    } else if !wrong.others.is_empty() {
        " each time"
    } else {
        ""
    };
    let given = numbers_of(profile, ioctl, accesses)?;
    if let Some(given) = given.first() {
        let what = format!("{name} gives {first:#x}{looks}, where the device gave {given:#x}");
        let why = why_changed(first, *given, ioctl.size, looks);
        return Ok(format!("{what}: {why}"));
    }
    let elsewhere = accesses.iter().find(|access| access.kind == Kind::Read);
    if let Some(access) = elsewhere {
        return Ok(format!(
            "{name} reads at offset {:#x}, where there is {}; the number is in {expected}, at \
             offset {}",
            access.offset,
            profile.named_at(access.offset),
            offsets(profile, ioctl)
        ));
    }
    Ok(format!(
        "{name} gives {first:#x}{looks}, and nothing was read from the device: does the driver map \
         BAR 0 where it is (here {:#x}; pci_resource_start says where), and read from that \
         mapping with ioread32 or readl?",
        wrong.bar
    ))
}

/// What became of the device's number on its way to the program.
fn why_changed(first: u64, given: u64, size: usize, looks: &str) -> String {
    if first == given.swap_bytes() >> (64 - 8 * size) {
        return "the bytes are swapped; use ioread32 or readl, not ...be, and no cpu_to_be32 or \
                htonl"
            .to_owned();
    }
    for bits in [8, 16] {
        if first == given & ((1 << bits) - 1) {
            return format!(
                "all but {bits} bits are lost; is a variable between readl and copy_to_user too \
                 short?"
            );
        }
    }
    match looks {
        "" => "the number that was read is not the one that is copied to the program",
        " each time" => {
            "the number that was read has to be copied to the program, and not a constant, an old \
             value or the address of a variable"
        }
        _ => "the number itself has to be copied, not a pointer to it",
    }
    .to_owned()
}

/// Whether numbers look like addresses in the kernel: whole ones, or the lower halves of aligned ones
/// that are near each other. Equal numbers can as well be a constant.
fn looks_like_addresses(numbers: &[u64]) -> bool {
    let whole = |number: &u64| *number >= 0xff00_0000_0000_0000 && *number < u64::MAX - 0xffff;
    let near = numbers.windows(2).all(|pair| pair[0] >> 24 == pair[1] >> 24);
    let aligned = numbers.iter().all(|number| number % 4 == 0);
    let large = numbers.iter().all(|number| *number > 0xffff);
    let differ = numbers.windows(2).any(|pair| pair[0] != pair[1]);
    numbers.iter().any(whole) || (near && aligned && large && differ)
}

fn offsets(profile: &Profile, ioctl: &Ioctl) -> String {
    let registers = profile.registers_of(ioctl).unwrap_or_default();
    let offsets = registers.iter().map(|register| format!("{:#x}", register.offset));
    offsets.collect::<Vec<_>>().join(" and ")
}

/// Two processes draw at the same time; each number of the device reaches one of them.
pub fn two_processes(session: &mut Session<'_>) -> Checked {
    let profile = session.profile;
    let ioctl = profile.ioctl(IoctlKind::Random)?;
    let done = session.calls_by(vec![draws(ioctl, AT_ONCE)], 2)?;
    let mut got = session.numbers(ioctl, &done.returned)?;
    let mut given = numbers_of(profile, ioctl, &done.accesses)?;
    got.sort_unstable();
    given.sort_unstable();
    // A number that neither got does not matter: a driver may read twice.
    let mut rest = given.iter();
    if got.iter().all(|number| rest.any(|given| given == number)) {
        return Ok(());
    }
    let twice = got.windows(2).filter(|pair| pair[0] == pair[1]).count();
    Err(Stop::failed(format!(
        "two processes at once do not get what the device gives: {twice} of {} numbers came twice. \
         Keep the number in a local variable instead of one that all calls share, or hold a mutex \
         from the read to copy_to_user",
        got.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said about numbers, those of other processes, and what was read.
    fn hint_with(numbers: &[u64], others: &[u64], reads: &[(usize, usize, u64)]) -> Option<String> {
        let profile = Profile::published().expect("it is a profile");
        let ioctl = profile.ioctl(IoctlKind::Random).expect("there is one");
        let access =
            |&(offset, width, value): &_| Access { kind: Kind::Read, offset, width, value };
        let accesses: Vec<Access> = reads.iter().map(access).collect();
        if let Err(stop) = whole_registers(&profile, &accesses) {
            return Some(stop.verdict().expect("it is the student's").message());
        }
        if are_given(&profile, ioctl, numbers, &accesses).expect("the profile is complete") {
            return None;
        }
        let wrong = Wrong { numbers, others, bar: 0xfebf_1000 };
        Some(why_not(&profile, ioctl, &wrong, &accesses).expect("the profile is complete"))
    }

    fn hint(numbers: &[u64], reads: &[(usize, usize, u64)]) -> Option<String> {
        hint_with(numbers, &[], reads)
    }

    #[test]
    fn the_devices_numbers_are_right_also_between_others() {
        assert_eq!(hint(&[5, 6], &[(0, 4, 5), (4, 4, 0), (0, 4, 9), (0, 4, 6)]), None);
        assert!(hint(&[6, 5], &[(0, 4, 5), (0, 4, 6)]).is_some());
    }

    #[test]
    fn each_mistake_has_its_hint() {
        let hint = |numbers: &[u64], reads: &[_]| hint(numbers, reads).expect("it is wrong");
        assert!(hint(&[0x7856_3412], &[(0, 4, 0x1234_5678)]).contains("bytes are swapped"));
        assert!(hint(&[0, 0], &[(8, 4, 0), (8, 4, 0)]).contains("reads at offset 0x8, where"));
        assert!(hint(&[0, 0], &[(4, 4, 0)]).contains("where there is SEED (offset 0x4)"));
        assert!(hint(&[7], &[(0, 4, 5)]).contains("not the one that is copied"));
        assert!(hint(&[0xffff_ffff; 2], &[]).contains("nothing was read from the device"));
        assert!(
            hint(&[0x804f_3eb0, 0x8051_be00], &[(0, 4, 5)]).contains("looks like a kernel address")
        );
        assert!(hint(&[5], &[(0, 1, 5)]).contains("reads 1 bytes at 0x0"));
    }
    #[test]
    fn a_constant_is_told_from_the_address_of_a_variable_by_what_other_processes_get() {
        // A stack's address without its upper half.
        let stack = hint_with(&[0x51_3b60; 3], &[0x51_3b60, 0x5a_bb60], &[(0, 4, 5)]);
        assert!(stack.expect("it is wrong").contains("looks like a kernel address"));
        let constant = hint_with(&[0xec_59f0; 3], &[0xec_59f0; 2], &[(0, 4, 5)]);
        let constant = constant.expect("it is wrong");
        assert!(!constant.contains("looks like a kernel address"), "{constant}");
        assert!(constant.contains("gives 0xec59f0 each time"), "{constant}");
    }
}
