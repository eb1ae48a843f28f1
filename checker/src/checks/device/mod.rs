//! The checks of a device: a guest without a driver reads and writes its registers, and compares
//! with the profile's table.

mod identity;
mod registers;
mod session;
mod sizes;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use lab::RunDir;

use super::stop::{Checked, Stop};
use super::{Recorder, Tools, verdict};
use crate::build;
use crate::profile::{Device, Narrow, Profile, RegisterKind, Rest, SeedReads, Wide};
use crate::report::{Entry, Verdict};
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
const IDENTITY: (&str, &str) = ("device-identity", "the guest finds it on the PCI bus");

fn check(id: &str, title: &str, run: impl Fn(&mut Session<'_>) -> Checked + 'static) -> Check {
    Check { id: id.to_owned(), title: title.to_owned(), run: Box::new(run) }
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
    let Device { narrow, wide, rest, .. } = profile.device;
    if narrow != Narrow::Unspecified || wide != Wide::Unspecified {
        let title = "accesses of all sizes do what they should";
        checks.push(check("device-access-sizes", title, move |session| {
            if narrow != Narrow::Unspecified {
                sizes::narrow(session)?;
            }
            if wide == Wide::Unspecified { Ok(()) } else { sizes::wide(session) }
        }));
    }
    if rest != Rest::Unspecified {
        checks.push(check("device-rest-of-page", "the rest of the page is empty", registers::rest));
    }
    for register in profile.registers.iter().filter(|one| one.kind == RegisterKind::Value) {
        let name = register.name.clone();
        checks.push(check(
            &format!("device-register-{name}"),
            &format!("{name} keeps what is written"),
            move |session| registers::keeps(session, &name),
        ));
    }
    checks.push(check("device-reset", "it works after a reset", registers::reset));
    checks
}

/// What the published device does and the profile leaves open. It is tried when all that counts is
/// done, and noted.
fn asides(profile: &Profile) -> Result<Vec<Aside>> {
    let Device { narrow, wide, rest, .. } = profile.device;
    let mut asides: Vec<Aside> = Vec::new();
    if profile.seed_register()?.reads == SeedReads::Unspecified {
        asides.push(|session| registers::seed_reads(session, SeedReads::Zero));
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
    for aside in asides(session.profile())? {
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
    let mut recorder = Recorder::new(profile);
    let checks = checks(profile);
    let built =
        recorder.check(BUILD.0, BUILD.1, || build::device(source, work).map_err(Stop::from))?;
    let Some(program) = built else {
        recorder.not_run(IDENTITY.0, IDENTITY.1, "device-build failed");
        not_run(&mut recorder, &checks, "device-build failed");
        return Ok(recorder.finish());
    };
    let mut session = Session::new(tools, run, program);
    let begun = Instant::now();
    let result = session.restore().and_then(|()| identity::identity(&mut session));
    let verdict = verdict(result)?;
    let fine = verdict.is_fine();
    recorder.add(IDENTITY.0, IDENTITY.1, verdict, begun);
    if !fine {
        not_run(&mut recorder, &checks, "device-identity failed");
        return Ok(recorder.finish());
    }
    for Check { id, title, run } in checks {
        let begun = Instant::now();
        let verdict = match session.restore() {
            Ok(()) => self::verdict(run(&mut session))?,
            Err(Stop::Lab(error)) => return Err(error),
            Err(Stop::Verdict(Verdict::NotRun(because))) => Verdict::NotRun(because),
            Err(Stop::Verdict(other)) => {
                Verdict::NotRun(format!("the device did not start again: {}", other.message()))
            }
        };
        recorder.add(&id, &title, verdict, begun);
    }
    note(&mut session, notes)?;
    Ok(recorder.finish())
}

fn not_run(recorder: &mut Recorder<'_>, checks: &[Check], because: &str) {
    for Check { id, title, .. } in checks {
        recorder.not_run(id, title, because);
    }
}
