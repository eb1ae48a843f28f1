//! The numbers that programs get are those that the device gave.

use super::calls::{Done, draws, stored};
use super::session::Session;
use crate::access_log::{Access, Kind, numbers_of};
use crate::checks::stop::{Checked, Stop, ensure};
use crate::profile::{Ioctl, IoctlKind, Profile, Register};

/// How many numbers are drawn.
const NUMBERS: u32 = 8;
/// How many numbers each of two processes draws.
const AT_ONCE: u32 = 100;

/// Each number is a new one, and the device's.
pub fn random(session: &mut Session<'_>) -> Checked {
    let profile = session.profile;
    for ioctl in profile.ioctls.iter().filter(|ioctl| ioctl.kind == IoctlKind::Random) {
        let done = session.calls(vec![draws(ioctl, NUMBERS)])?;
        let numbers = numbers(ioctl, &done)?;
        match_log(profile, ioctl, &numbers, &done.accesses, session.before.bar)?;
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

/// The numbers that were stored.
pub fn numbers(ioctl: &Ioctl, done: &Done) -> Result<Vec<u64>, Stop> {
    let stored = done.returned.iter().map(|returned| stored(ioctl, *returned));
    stored.collect::<Result<_, _>>().map_err(Stop::failed)
}

/// Checks numbers against those that the device gave.
fn match_log(
    profile: &Profile,
    ioctl: &Ioctl,
    numbers: &[u64],
    accesses: &[Access],
    bar: u64,
) -> Checked {
    let given = numbers_of(profile, ioctl, accesses)?;
    if let Some(wrong) = accesses.iter().find(|access| {
        access.kind == Kind::Read
            && profile.register_at(access.offset).is_some_and(|register| {
                register.offset == access.offset && register.width != access.width
            })
    }) {
        let register = profile.register_at(wrong.offset).map_or(4, |register| register.width);
        return Err(Stop::failed(format!(
            "the driver reads {} bytes at {:#x} where the register has {register}: use ioread{} \
             or read{}",
            wrong.width,
            wrong.offset,
            8 * register,
            if register == 4 { "l" } else { "w" },
        )));
    }
    let mut rest = given.iter();
    if numbers.iter().all(|number| rest.any(|given| given == number)) {
        return in_order(profile, ioctl, accesses);
    }
    Err(Stop::failed(why_not(profile, ioctl, numbers, &given, accesses, bar)))
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

/// Why numbers are not those of the device.
fn why_not(
    profile: &Profile,
    ioctl: &Ioctl,
    numbers: &[u64],
    given: &[u64],
    accesses: &[Access],
    bar: u64,
) -> String {
    let Ioctl { name, size, .. } = ioctl;
    let first = numbers.first().copied().unwrap_or_default();
    let expected = ioctl.registers.join(" and ");
    let kernel_address = looks_like_addresses(numbers);
    if let Some(given) = given.first() {
        if first == given.swap_bytes() >> (64 - 8 * size) {
            return format!(
                "{name} gives {first:#x} where the device gave {given:#x}: the bytes are swapped; \
                 use ioread32 or readl, not ...be, and no cpu_to_be32 or htonl"
            );
        }
        if kernel_address {
            return format!(
                "{name} gives {first:#x}, which looks like a kernel address, where the device gave \
                 {given:#x}: the number itself has to be copied, not a pointer to it"
            );
        }
        for bits in [8, 16] {
            if first == given & ((1 << bits) - 1) {
                return format!(
                    "{name} gives {first:#x} where the device gave {given:#x}: all but {bits} bits \
                     are lost; is a variable between readl and copy_to_user too short?"
                );
            }
        }
        return format!(
            "{name} gives {first:#x} where the device gave {given:#x}: the number that was read is \
             not the one that is copied to the program"
        );
    }
    let elsewhere = accesses.iter().find(|access| access.kind == Kind::Read);
    if let Some(access) = elsewhere {
        let there = profile.register_at(access.offset).map(Register::to_string);
        let there = there.unwrap_or_else(|| "nothing".to_owned());
        return format!(
            "{name} reads at offset {:#x}, where there is {there}; the number is in {expected}, at \
             offset {}",
            access.offset,
            offsets(profile, ioctl)
        );
    }
    let looks = if kernel_address { ", which looks like a kernel address" } else { "" };
    format!(
        "{name} gives {first:#x}{looks}, and nothing was read from the device: does the driver map \
         BAR 0 where it is (here {bar:#x}; pci_resource_start says where), and read from that \
         mapping with ioread32 or readl?"
    )
}

/// Whether numbers look like addresses in the kernel: whole ones, or the lower halves of aligned ones
/// that are near each other.
fn looks_like_addresses(numbers: &[u64]) -> bool {
    let whole = |number: &u64| *number >= 0xff00_0000_0000_0000 && *number < u64::MAX - 0xffff;
    let near = numbers.windows(2).all(|pair| pair[0] >> 24 == pair[1] >> 24);
    let aligned = numbers.iter().all(|number| number % 4 == 0);
    let large = numbers.iter().all(|number| *number > 0xffff);
    numbers.iter().any(whole) || (near && aligned && large && !numbers.is_empty())
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
    let mut got = numbers(ioctl, &done)?;
    let mut given = numbers_of(profile, ioctl, &done.accesses)?;
    got.sort_unstable();
    given.sort_unstable();
    // What nobody got does not matter: a driver may look twice.
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

    fn hint(numbers: &[u64], reads: &[(usize, usize, u64)]) -> Option<String> {
        let profile = Profile::published().expect("it is a profile");
        let ioctl = profile.ioctl(IoctlKind::Random).expect("there is one");
        let access =
            |&(offset, width, value): &_| Access { kind: Kind::Read, offset, width, value };
        let accesses: Vec<Access> = reads.iter().map(access).collect();
        match match_log(&profile, ioctl, numbers, &accesses, 0xfebf_1000) {
            Ok(()) => None,
            Err(stop) => Some(stop.verdict().expect("it is the student's").message()),
        }
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
        // A stack's address without its upper half.
        assert!(hint(&[0x51_3b60; 3], &[(0, 4, 5)]).contains("looks like a kernel address"));
        assert!(hint(&[5], &[(0, 1, 5)]).contains("reads 1 bytes at 0x0"));
    }
}
