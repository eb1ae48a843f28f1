//! Registers that keep a value, through the driver: one check for each that it has ioctls for.

use super::calls::{draws, gives, refused, stored};
use super::session::Session;
use crate::access_log::writes;
use crate::errno;
use crate::profile::{Ioctl, IoctlKind, Profile, RegisterKind};
use crate::stop::{Checked, ensure};

/// Ids, titles and registers of these checks.
pub fn ids(profile: &Profile) -> Vec<(String, String, String)> {
    let with_ioctls = profile.registers.iter().filter(|register| {
        register.kind == RegisterKind::Value && !ioctls(profile, &register.name).is_empty()
    });
    with_ioctls
        .map(|register| {
            let name = &register.name;
            let title = format!("{name} is read and written through the driver");
            (format!("driver-register-{name}"), title, name.clone())
        })
        .collect()
}

fn ioctls<'a>(profile: &'a Profile, register: &str) -> Vec<&'a Ioctl> {
    let of_it = |ioctl: &&Ioctl| {
        matches!(ioctl.kind, IoctlKind::Get | IoctlKind::Set) && ioctl.registers == [register]
    };
    profile.ioctls.iter().filter(of_it).collect()
}

/// What is set reaches the register, and what is got is what the device gave.
pub fn keeps(session: &mut Session<'_>, name: &str) -> Checked {
    let profile = session.profile;
    let register = profile.register(name)?;
    let of_kind = |kind| ioctls(profile, name).into_iter().find(|ioctl| ioctl.kind == kind);
    // Values with few bits set, which fit most masks.
    for value in [register.kept() & 0x5555_5555_5555_5555, register.kept() & 1, register.reset] {
        if let Some(set) = of_kind(IoctlKind::Set) {
            let done = session.calls(vec![gives(set, value)])?;
            let result = done.returned.first().map_or(0, |returned| returned.result);
            ensure(!errno::is_error(result), || refused(set, result))?;
            let written = writes(&done.accesses);
            let right = matches!(&written[..], [one] if one.offset == register.offset
                && one.width == register.width && one.value == value);
            ensure(right, || {
                format!(
                    "{} with {value:#x} has to write that to {register} and nothing else; it \
                         wrote {written:?}",
                    set.name
                )
            })?;
        }
        if let Some(get) = of_kind(IoctlKind::Get) {
            let done = session.calls(vec![draws(get, 1)])?;
            let returned = done.returned.first().copied();
            let got = returned.map_or(Ok(0), |returned| stored(get, returned))?;
            let given = crate::access_log::reads_at(&done.accesses, register.offset);
            ensure(given.last() == Some(&got), || {
                format!("{} gives {got:#x}; {register} was read as {given:x?}", get.name)
            })?;
        }
    }
    match of_kind(IoctlKind::Set) {
        Some(set) => session.reads_no_more(set, register.reset),
        None => Ok(()),
    }
}
