//! What reached the device, by its own account.
//!
//! A device on the kit logs each access (`-vv`), by the name of its register or, where there is
//! none, by offset:
//!
//! ```text
//! [2026-01-01T00:00:00.000000Z DEBUG] RANDOM read 4 -> 0x2a
//! [2026-01-01T00:00:00.000000Z DEBUG] SEED+2 write 2 <- 0x7
//! [2026-01-01T00:00:00.000000Z DEBUG] BAR0+0x8 write 4 <- 0x1
//! ```

use anyhow::Result;

use crate::profile::{Ioctl, Profile};

/// An access to BAR 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Read or write.
    pub kind: Kind,
    /// Offset in the BAR.
    pub offset: usize,
    /// Bytes.
    pub width: usize,
    /// What was read or written.
    pub value: u64,
}

/// The direction of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From the device.
    Read,
    /// To the device.
    Write,
}

/// An access to BAR 0, with its place as the log names it: `RANDOM`, `SEED+2`, `BAR0+0x8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The place.
    pub place: String,
    /// Read or write.
    pub kind: Kind,
    /// Bytes.
    pub width: usize,
    /// What was read or written.
    pub value: u64,
}

/// The accesses in a log, in their order; other lines are passed over.
pub fn named(log: &str) -> impl Iterator<Item = Named> {
    log.lines().filter_map(access)
}

/// The same, for a device with a profile.
#[must_use]
pub fn parse(log: &str, profile: &Profile) -> Vec<Access> {
    let with_offset = |Named { place, kind, width, value }: Named| {
        Some(Access { kind, offset: offset(&place, profile)?, width, value })
    };
    named(log).filter_map(with_offset).collect()
}

fn access(line: &str) -> Option<Named> {
    let (_, said) = line.split_once("DEBUG")?;
    let (_, said) = said.split_once("] ")?;
    let mut words = said.split(' ');
    let place = words.next()?.to_owned();
    let kind = match words.next()? {
        "read" => Kind::Read,
        "write" => Kind::Write,
        _ => return None,
    };
    let width = words.next()?.parse().ok()?;
    let arrow = words.next()?;
    if arrow != if kind == Kind::Read { "->" } else { "<-" } {
        return None;
    }
    Some(Named { place, kind, width, value: number(words.next()?)? })
}

/// `SEED`, `SEED+2` or `BAR0+0x10` as an offset in BAR 0.
fn offset(place: &str, profile: &Profile) -> Option<usize> {
    if let Some(offset) = place.strip_prefix("BAR0+") {
        return usize::try_from(number(offset)?).ok();
    }
    let (name, rest) = place.split_once('+').unwrap_or((place, "0"));
    Some(profile.register(name).ok()?.offset + rest.parse::<usize>().ok()?)
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// The values of the reads at an offset.
#[must_use]
pub fn reads_at(accesses: &[Access], offset: usize) -> Vec<u64> {
    let reads = accesses.iter().filter(|access| access.kind == Kind::Read);
    reads.filter(|access| access.offset == offset).map(|access| access.value).collect()
}

/// The numbers that the device gave for an ioctl, each made of one read of each of the ioctl's
/// registers.
pub fn numbers_of(profile: &Profile, ioctl: &Ioctl, accesses: &[Access]) -> Result<Vec<u64>> {
    let registers = profile.registers_of(ioctl)?;
    let reads: Vec<Vec<u64>> =
        registers.iter().map(|register| reads_at(accesses, register.offset)).collect();
    let count = reads.iter().map(Vec::len).min().unwrap_or_default();
    let whole = |index: usize| {
        let parts = registers.iter().zip(&reads).rev();
        parts.fold(0u64, |value, (register, reads)| {
            let bits = u32::try_from(8 * register.width).unwrap_or(u32::MAX);
            // One of 8 bytes is all of a number.
            value.checked_shl(bits).unwrap_or(0) | (reads[index] & register.bits())
        })
    };
    Ok((0..count).map(whole).collect())
}

/// The writes.
#[must_use]
pub fn writes(accesses: &[Access]) -> Vec<Access> {
    accesses.iter().filter(|access| access.kind == Kind::Write).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_found_by_name_and_by_offset_among_other_lines() {
        let log = "[2026-11-21T08:54:52.039002Z INFO ] listening at my-rng.sock\n\
                   [2026-11-21T08:54:53.000000Z DEBUG] RANDOM read 4 -> 0x2a\n\
                   [2026-11-21T08:54:53.000000Z DEBUG] SEED+2 write 2 <- 0x7\n\
                   [2026-11-21T08:54:53.000000Z DEBUG] BAR0+0x10 write 1 <- 0xff\n\
                   [2026-11-21T08:54:53.000000Z DEBUG] BAR0+0x10 write 1 <- ";
        let profile = Profile::published().expect("it is a profile");
        let found = parse(log, &profile);
        let access = |kind, offset, width, value| Access { kind, offset, width, value };
        assert_eq!(
            found,
            [
                access(Kind::Read, 0, 4, 0x2a),
                access(Kind::Write, 6, 2, 7),
                access(Kind::Write, 0x10, 1, 0xff),
            ]
        );
        assert_eq!(reads_at(&found, 0), [0x2a]);
        assert_eq!(writes(&found).len(), 2);
    }

    #[test]
    fn a_number_can_be_one_register_of_8_bytes() {
        let mut profile = Profile::published().expect("it is a profile");
        let wide = profile.registers.iter_mut().find(|register| register.name == "RANDOM");
        wide.expect("it is there").width = 8;
        let ioctl = profile.ioctl(crate::profile::IoctlKind::Random).expect("there is one");
        let value = 0x1122_3344_5566_7788;
        let read = Access { kind: Kind::Read, offset: 0, width: 8, value };
        assert_eq!(numbers_of(&profile, ioctl, &[read]).expect("it is right"), [value]);
    }
}
