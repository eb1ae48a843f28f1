//! What a driver has to refuse.

use exerciser::{Argument, Call};

use super::calls::refused;
use super::session::Session;
use crate::access_log::writes;
use crate::errno;
use crate::profile::Ioctl;
use crate::stop::{Checked, Stop, ensure};

/// The error for a bad address.
const EFAULT: i32 = -14;

/// Ioctls that no driver has, each with what is wrong with it. The published letter is `q`.
const UNKNOWN: [(u32, &str); 3] = [
    (0x0000_7177, "with a number that the driver has no ioctl for, _IO('q', 0x77)"),
    (0x8004_7177, "with a number that the driver has no ioctl for, _IOR('q', 0x77, unsigned int)"),
    (0x8004_7a77, "of another driver's, _IOR('z', 0x77, unsigned int)"),
];

/// Unknown ioctls are refused, and do nothing.
pub fn unknown_ioctls(session: &mut Session<'_>) -> Checked {
    let accepted = session.profile.driver.wrong_ioctl_errors.clone();
    let calls: Vec<Call> = UNKNOWN
        .iter()
        .map(|(number, _)| Call { number: *number, argument: Argument::Empty, times: 1 })
        .collect();
    let done = session.calls(calls)?;
    for ((number, what), returned) in UNKNOWN.iter().zip(&done.returned) {
        let result = returned.result;
        let good = errno::is_error(result) && accepted.contains(&-result);
        ensure(good, || {
            format!(
                "an ioctl {what} ({number:#x}) returned {}: the default of the switch has to \
                 return {}",
                errno::returned(result),
                errors(&accepted)
            )
        })?;
    }
    ensure(writes(&done.accesses).is_empty(), || {
        "an unknown ioctl was refused, but wrote to the device before".to_owned()
    })
}

fn errors(accepted: &[i32]) -> String {
    let names: Vec<String> =
        accepted.iter().map(|number| format!("-{}", errno::name(*number))).collect();
    names.join(" or ")
}

/// Bad addresses are refused with EFAULT, and good ones that were never used are not.
pub fn bad_pointers(session: &mut Session<'_>) -> Checked {
    let hung = session.hung.clone();
    let result = all_bad_pointers(session);
    // A call that does not come back after a bad address may do so without one.
    session.hung = hung;
    result
}

fn all_bad_pointers(session: &mut Session<'_>) -> Checked {
    let profile = session.profile;
    let bad = [
        (Argument::Null, "NULL"),
        (Argument::Unmapped, "an address with no memory behind it"),
        (Argument::ReadOnly, "memory that the program may not write"),
        (Argument::Kernel, "an address of the kernel's"),
    ];
    let mut tried = Vec::new();
    for ioctl in &profile.ioctls {
        // That it is not there is for the checks of what it does.
        if untouched(session, ioctl)? {
            // What is only read may be read-only.
            let of_it = |(argument, _): &&_| *argument != Argument::ReadOnly || ioctl.kind.fills();
            tried
                .extend(bad.iter().filter(of_it).map(|(argument, what)| (ioctl, *argument, *what)));
        }
    }
    if tried.is_empty() {
        return Err(Stop::not_run("the driver knows none of the exercise's ioctls"));
    }
    if all_refused(session, &tried)? {
        return Ok(());
    }
    // One by one, to tell which is not.
    tried
        .into_iter()
        .try_for_each(|(ioctl, argument, what)| bad_pointer(session, ioctl, argument, what))
}

/// Whether all calls with bad addresses are refused, and none writes to the device. In one go: each
/// look at the guest costs more than a call.
fn all_refused(
    session: &mut Session<'_>,
    tried: &[(&Ioctl, Argument, &str)],
) -> Result<bool, Stop> {
    let call =
        |&(ioctl, argument, _): &(&Ioctl, _, _)| Call { number: ioctl.number, argument, times: 1 };
    let hung = session.hung.clone();
    let done = session.calls(tried.iter().map(call).collect());
    session.hung = hung;
    match done {
        Ok(done) => {
            let refused = done.returned.iter().all(|returned| returned.result == EFAULT);
            Ok(refused && done.returned.len() == tried.len() && writes(&done.accesses).is_empty())
        }
        Err(Stop::Verdict(_)) if session.bench.is_live() => Ok(false),
        Err(stop) => Err(stop),
    }
}

/// A call with good memory that the kernel has to wait for; whether the driver knows it.
fn untouched(session: &mut Session<'_>, ioctl: &Ioctl) -> Result<bool, Stop> {
    let call = Call { number: ioctl.number, argument: Argument::Untouched, times: 1 };
    let done = session.calls(vec![call])?;
    let unknown = &session.profile.driver.wrong_ioctl_errors;
    match done.returned.first().map_or(0, |returned| returned.result) {
        EFAULT => Err(Stop::failed(format!(
            "{} returned -EFAULT for good memory that the program had not used before: copy_to_user \
             and copy_from_user may have to wait for memory, which they cannot under a spinlock; \
             copy to a local variable, unlock, then copy to the program",
            ioctl.name
        ))),
        result if unknown.contains(&-result) => Ok(false),
        result if errno::is_error(result) => Err(Stop::failed(refused(ioctl, result))),
        _ => Ok(true),
    }
}

fn bad_pointer(
    session: &mut Session<'_>,
    ioctl: &Ioctl,
    argument: Argument,
    what: &str,
) -> Checked {
    let call = Call { number: ioctl.number, argument, times: 1 };
    let done = session.calls(vec![call])?;
    let result = done.returned.first().map_or(0, |returned| returned.result);
    let name = &ioctl.name;
    let function = if ioctl.kind.fills() { "copy_to_user" } else { "copy_from_user" };
    if let Some(write) = writes(&done.accesses).first() {
        return Err(Stop::failed(format!(
            "{name} with {what} wrote {:#x} to the device: check the result of {function} before \
             the value is used, and return -EFAULT",
            write.value
        )));
    }
    ensure(result == EFAULT, || {
        let returned = errno::returned(result);
        match result {
            0 => format!(
                "{name} with {what} returned 0 instead of -EFAULT: check the result of {function}"
            ),
            1.. => format!(
                "{name} with {what} returned {returned} instead of -EFAULT: {function} returns how \
                 many bytes it has not copied, and no error"
            ),
            _ => format!("{name} with {what} returned {returned} instead of -EFAULT"),
        }
    })
}
