//! The checks of a device: a guest without a driver reads and writes its registers, and compares
//! with the profile's table.

mod clear;
mod dma;
mod identity;
mod interrupt;
mod registers;
mod session;
mod sizes;
pub mod test_module;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use lab::RunDir;

use super::{Recorder, verdict};
use crate::build;
use crate::profile::{Device, Narrow, Profile, RegisterKind, Rest, SeedReads, Wide};
use crate::report::{Entry, Verdict};
use crate::stop::{Checked, Stop};
use crate::tools::Tools;
use session::Session;

/// Something that is tried and does not count.
type Aside = fn(&mut Session<'_>) -> Checked;

type Run = Box<dyn Fn(&mut Session<'_>) -> Checked>;

/// A check in a guest.
struct Check {
    id: String,
    title: String,
    run: Run,
}

const BUILD: (&str, &str) = ("device-build", "it compiles");
const SIZES: &str = "device-access-sizes";
const REST: &str = "device-rest-of-page";
const IDENTITY: (&str, &str) = ("device-identity", "the guest finds it on the PCI bus");

fn check(id: &str, title: &str, run: impl Fn(&mut Session<'_>) -> Checked + 'static) -> Check {
    Check { id: id.to_owned(), title: title.to_owned(), run: Box::new(run) }
}

/// The ids of its checks, with those that not every profile has.
pub fn ids(profile: &Profile) -> Vec<String> {
    let fixed = [BUILD.0, IDENTITY.0, SIZES, REST].map(str::to_owned).into_iter();
    fixed.chain(checks(profile).into_iter().map(|check| check.id)).collect()
}

/// The checks behind the first two.
fn checks(profile: &Profile) -> Vec<Check> {
    let mut checks = vec![
        check("device-random", "every read gives a new number", registers::random),
        check("device-seed", "the same seed gives the same numbers", |session| {
            registers::seed(session)?;
            registers::seed_reads(session, session.profile().seed_register()?.reads)
        }),
    ];
    checks.extend(size_checks(&profile.device));
    checks.extend(register_checks(profile));
    checks.extend(bus_master_checks(profile));
    checks.push(check("device-reset", "it works after a reset", registers::reset));
    checks
}

/// The checks of what accesses do that are not whole registers.
fn size_checks(&Device { narrow, wide, rest, .. }: &Device) -> Vec<Check> {
    let mut checks = Vec::new();
    if narrow != Narrow::Unspecified || wide != Wide::Unspecified {
        let title = "accesses of all sizes do what they should";
        checks.push(check(SIZES, title, move |session| {
            session.ensure_repeats()?;
            if narrow != Narrow::Unspecified {
                sizes::narrow(session)?;
            }
            if wide == Wide::Unspecified { Ok(()) } else { sizes::wide(session) }
        }));
    }
    if rest != Rest::Unspecified {
        checks.push(check(REST, "the rest of the page is empty", |session| {
            session.ensure_repeats()?;
            registers::rest(session)
        }));
    }
    checks
}

/// The checks of each register that keeps something.
fn register_checks(profile: &Profile) -> Vec<Check> {
    let mut checks = Vec::new();
    for register in profile.registers.iter().filter(|one| one.kind == RegisterKind::Value) {
        let name = register.name.clone();
        checks.push(check(
            &format!("device-register-{name}"),
            &format!("{name} keeps what is written"),
            move |session| registers::keeps(session, &name),
        ));
    }
    for register in profile.registers.iter().filter(|one| one.kind == RegisterKind::WriteOneToClear)
    {
        let name = register.name.clone();
        checks.push(check(
            &format!("device-register-{name}"),
            &format!("{name} has its bits set, and cleared by writes of ones"),
            move |session| clear::clears(session, &name),
        ));
    }
    checks
}

/// The checks of what the device does to the guest by itself.
fn bus_master_checks(profile: &Profile) -> Vec<Check> {
    let mut checks = Vec::new();
    for interrupt in profile.interrupts.iter().cloned() {
        let (id, name) = (format!("device-interrupt-{}", interrupt.name), &interrupt.name);
        let title = format!("the interrupt {name} comes");
        checks.push(check(&id, &title, move |session| interrupt::interrupts(session, &interrupt)));
    }
    for transfer in profile.transfers.iter().cloned() {
        let (id, name) = (format!("device-dma-{}", transfer.name), &transfer.name);
        let title = format!("the transfer {name} writes memory");
        checks.push(check(&id, &title, move |session| dma::transfers(session, &transfer)));
    }
    checks
}

/// What the published device does and the profile leaves open. It is tried when all that counts is
/// done, and noted.
fn asides(profile: &Profile, repeats: bool) -> Result<Vec<Aside>> {
    let Device { narrow, wide, rest, .. } = profile.device;
    let mut asides: Vec<Aside> = Vec::new();
    if profile.seed_register()?.reads == SeedReads::Unspecified {
        asides.push(|session| registers::seed_reads(session, SeedReads::Zero));
    }
    if !repeats {
        // The others compare numbers after a seed.
        return Ok(asides);
    }
    if narrow == Narrow::Unspecified {
        asides.push(sizes::narrow);
    }
    if wide == Wide::Unspecified {
        asides.push(sizes::wide);
    }
    if rest == Rest::Unspecified {
        asides.push(registers::rest);
    }
    Ok(asides)
}

/// Tries what the profile leaves open, and notes what is otherwise than in the published device.
fn note(session: &mut Session<'_>, notes: &mut Vec<String>) -> Result<()> {
    for aside in asides(session.profile(), session.repeats)? {
        match session.restore().and_then(|()| aside(session)) {
            Err(Stop::Lab(error)) => return Err(error),
            Err(Stop::Verdict(Verdict::Failed(failure))) => notes.push(format!(
                "the exercise does not ask for it, and it costs nothing: {}",
                failure.hint
            )),
            Ok(()) | Err(Stop::Verdict(_)) => {}
        }
    }
    Ok(())
}

/// Builds and checks a device.
pub fn check_device(
    source: &Path,
    tools: &Tools,
    run: &RunDir,
    work: &Path,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>> {
    let profile = &tools.profile;
    let mut recorder = Recorder::new(&tools.profile, &tools.listener, run);
    let checks = checks(profile);
    let built = recorder.check(BUILD.0, BUILD.1, || build::device(source, work))?;
    let Some(program) = built else {
        recorder.not_run(IDENTITY.0, IDENTITY.1, "device-build failed");
        not_run(&mut recorder, &checks, "device-build failed");
        return recorder.finish();
    };
    let mut session = Session::new(tools, run, program);
    in_guest_checks(&mut session, &mut recorder, checks, notes)?;
    session.end()?;
    recorder.finish()
}

fn in_guest_checks(
    session: &mut Session<'_>,
    recorder: &mut Recorder<'_>,
    checks: Vec<Check>,
    notes: &mut Vec<String>,
) -> Result<()> {
    let begun = Instant::now();
    let (verdict, usable) = match session.restore().and_then(|()| identity::identity(session)) {
        Ok(None) => (Verdict::Passed, true),
        Ok(Some(fault)) => (fault.failure.into(), fault.usable),
        Err(stop) => (stop.verdict()?, false),
    };
    recorder.add(IDENTITY.0, IDENTITY.1, verdict, begun);
    // A wrong revision costs its own points, and no others.
    if !usable {
        not_run(recorder, &checks, "device-identity failed");
        return Ok(());
    }
    for Check { id, title, run } in checks {
        let begun = Instant::now();
        match session.restore().map_err(Stop::verdict) {
            Ok(()) => match self::verdict(run(session))? {
                // The fault that is in its way costs once.
                it @ Verdict::NotRun(_) => recorder.add_for_nothing(&id, &title, it, begun),
                verdict => recorder.add(&id, &title, verdict, begun),
            },
            Err(reason) => recorder.add(&id, &title, not_restored(reason?), begun),
        }
    }
    note(session, notes)
}

/// What a check comes to for which the device did not start again.
fn not_restored(reason: Verdict) -> Verdict {
    match reason {
        Verdict::NotRun(_) => reason,
        other => Verdict::NotRun(format!("the device did not start again: {}", other.message())),
    }
}

fn not_run(recorder: &mut Recorder<'_>, checks: &[Check], because: &str) {
    for Check { id, title, .. } in checks {
        recorder.not_run(id, title, because);
    }
}
