//! The checks of a driver: it is built, loaded in a guest, used as programs use it, misused, and
//! unloaded. What reached the device meanwhile says the device's own log.

mod calls;
mod errors;
mod leaks;
mod load;
mod numbers;
mod place;
mod seed;
mod session;
mod values;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use lab::RunDir;

use super::{Recorder, verdict};
use crate::build;
use crate::guest::{Attached, Bench, Kind, Setup, saved};
use crate::kernel_log::{self, Trouble};
use crate::profile::Profile;
use crate::report::{Entry, Failure, Verdict};
use crate::stop::{Checked, Stop};
use crate::tools::Tools;
use session::Session;

/// What has to be there for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// A guest, and a module that can be unloaded.
    Unload,
    /// The module, loaded.
    Module,
    /// A device node that can be opened.
    Node,
}

/// A check in a guest.
struct Check {
    id: &'static str,
    title: &'static str,
    needs: Needs,
    run: fn(&mut Session<'_>) -> Checked,
}

const BUILD: (&str, &str) = ("driver-build", "it compiles for the guest's kernel");
const LOAD: (&str, &str) = ("driver-load", "it loads");
const NODE: (&str, &str) = ("driver-node", "its device node can be opened");
const LOG: (&str, &str) = ("driver-kernel-log", "the kernel has nothing to complain about");

const RANDOM: &str = "driver-random";
const UNLOAD: &str = "driver-unload";

/// The checks between the node and the kernel's log.
const CHECKS: [Check; 9] = [
    check(RANDOM, "each number is a new one of the device", Needs::Node, numbers::random),
    check(
        "driver-seed-repeats",
        "the same seed gives the same numbers",
        Needs::Node,
        seed::seed_repeats,
    ),
    check(
        "driver-seed-register",
        "the seed reaches its register and nothing else",
        Needs::Node,
        seed::seed_register,
    ),
    check("driver-errors", "unknown ioctls are refused", Needs::Node, errors::unknown_ioctls),
    check("driver-bad-pointers", "bad addresses are refused", Needs::Node, errors::bad_pointers),
    check(
        "driver-two-processes",
        "two processes can use it at once",
        Needs::Node,
        numbers::two_processes,
    ),
    check(UNLOAD, "it unloads", Needs::Module, load::unload),
    check("driver-reload", "it loads and works again", Needs::Unload, load::reload),
    check("driver-leaks", "100 loads leave nothing behind", Needs::Unload, leaks::leaks),
];

const fn check(
    id: &'static str,
    title: &'static str,
    needs: Needs,
    run: fn(&mut Session<'_>) -> Checked,
) -> Check {
    Check { id, title, needs, run }
}

/// The ids of its checks.
pub fn ids(profile: &Profile) -> Vec<String> {
    let fixed = [BUILD.0, LOAD.0, NODE.0, LOG.0].into_iter().chain(CHECKS.map(|check| check.id));
    let values = values::ids(profile).into_iter().map(|(id, _, _)| id);
    fixed.map(str::to_owned).chain(values).collect()
}

/// Builds and checks a driver.
pub fn check_driver(
    source: &Path,
    tools: &Tools,
    run: &RunDir,
    work: &Path,
    notes: &mut Vec<String>,
) -> Result<Vec<Entry>> {
    let mut recorder = Recorder::new(&tools.profile, &tools.listener, run);
    let built = recorder.check(BUILD.0, BUILD.1, || build::driver(source, work, tools.booted))?;
    let Some(module) = built else {
        let because = "driver-build failed";
        recorder.not_run(LOAD.0, LOAD.1, because);
        not_run(&mut recorder, tools, because);
        recorder.not_run(LOG.0, LOG.1, because);
        return recorder.finish();
    };
    notes.extend(module.notes.iter().cloned());
    let in_guest = format!("root/{}.ko", module.name);
    let mut setup = Setup::of(tools, run, &[(&in_guest, &module.file)]);
    setup.saved = saved(tools, Kind::WithDevice)?;
    let bench = Bench::new(setup, Attached::of(tools, run)?);
    let mut session = Session::new(bench, &tools.profile, &module);
    in_guest_checks(&mut session, &mut recorder, tools)?;
    notes.append(&mut session.notes);
    session.bench.end()?;
    recorder.finish()
}

fn in_guest_checks(
    session: &mut Session<'_>,
    recorder: &mut Recorder<'_>,
    tools: &Tools,
) -> Result<()> {
    session.bench.boot().map_err(lab_failure)?;
    if !attempt(session, recorder, LOAD, |session| session.load())? {
        not_run(recorder, tools, "driver-load failed");
        kernel_log(session, recorder);
        return Ok(());
    }
    attempt(session, recorder, NODE, |session| session.open_node())?;
    for Check { id, title, needs, run } in CHECKS {
        let begun = Instant::now();
        match session.restore(needs).map_err(Stop::verdict) {
            Ok(()) => {
                let fine = attempt(session, recorder, (id, title), run)?;
                // One that is unloaded, or in a guest that lives, can go on.
                let loaded_or_gone = session.loaded || !session.bench.is_live();
                session.no_unload |= id == UNLOAD && !fine && loaded_or_gone;
            }
            Err(reason) => {
                let reason = because(reason?);
                // What the attempt to come that far left.
                watch(session, id, Ok(())).or_else(|stop| stop.verdict().map(drop))?;
                recorder.add(id, title, Verdict::NotRun(reason), begun);
            }
        }
    }
    for (id, title, register) in values::ids(&tools.profile) {
        let run = |session: &mut Session<'_>| values::keeps(session, &register);
        match session.restore(Needs::Node).map_err(Stop::verdict) {
            Ok(()) => drop(attempt(session, recorder, (&id, &title), run)?),
            Err(reason) => recorder.not_run(&id, &title, &because(reason?)),
        }
    }
    kernel_log(session, recorder);
    Ok(())
}

/// Does a check and takes down how it ended; whether that is well.
fn attempt(
    session: &mut Session<'_>,
    recorder: &mut Recorder<'_>,
    (id, title): (&str, &str),
    run: impl FnOnce(&mut Session<'_>) -> Checked,
) -> Result<bool> {
    let begun = Instant::now();
    id.clone_into(&mut session.check);
    session.costs_nothing = false;
    let result = run(session);
    let verdict = verdict(watch(session, id, result))?;
    let fine = verdict.is_fine();
    if matches!(verdict, Verdict::Failed(_)) {
        session.failed.insert(id.to_owned());
    }
    if matches!(verdict, Verdict::NotRun(_)) && session.costs_nothing {
        recorder.add_for_nothing(id, title, verdict, begun);
    } else {
        recorder.add(id, title, verdict, begun);
    }
    Ok(fine)
}

/// Looks at what the kernel said during a check: an oops is what the check came to, whatever else
/// it found. Whether the guest is still of use.
fn watch(session: &mut Session<'_>, id: &str, result: Checked) -> Checked {
    let lost = !session.bench.is_live();
    let (news, mut result) = match session.bench.news() {
        Ok(news) => (news, result),
        Err(stop) => (session.bench.news().unwrap_or_default(), result.and(Err(stop))),
    };
    let worst = kernel_log::worst(&news);
    let failed = worst.as_ref().is_some_and(|found| found.trouble > Trouble::Warning);
    if failed {
        session.bench.discard();
    } else {
        result = result.map_err(|stop| with_kernel_words(stop, &news));
    }
    if let Some(found) = worst {
        let (meaning, said) = (found.meaning, found.said());
        let hint = format!("during {id}: {meaning} ({said})");
        let mut complaint = Failure::new(hint).with(kernel_log::excerpt(&news));
        if failed && !lost {
            let place = place::of(&news, &session.module.file);
            let place = place.map(|place| format!(", at {place}")).unwrap_or_default();
            complaint.hint = format!("{meaning}{place} ({said})");
            result = Err(complaint.clone().into());
        }
        session.complaints.push((found.trouble, complaint));
    }
    if !session.bench.is_live() {
        session.forget();
    }
    result
}

/// What the kernel said, where a failure has no words of its own.
fn with_kernel_words(stop: Stop, news: &str) -> Stop {
    match stop {
        Stop::Verdict(Verdict::Failed(failure)) if failure.details.is_empty() => {
            failure.with(kernel_log::condensed(news)).into()
        }
        other => other,
    }
}

/// The verdict about the kernel's log of all guests.
fn kernel_log(session: &Session<'_>, recorder: &mut Recorder<'_>) {
    let begun = Instant::now();
    // Of equally bad ones the first: `max_by_key` takes the last.
    let worst = session.complaints.iter().rev().max_by_key(|(trouble, _)| *trouble);
    let verdict = worst.map_or(Verdict::Passed, |(_, complaint)| complaint.clone().into());
    recorder.add(LOG.0, LOG.1, verdict, begun);
}

fn because(verdict: Verdict) -> String {
    match verdict {
        Verdict::NotRun(because) => because,
        other => format!("the driver could not be made ready again: {}", other.message()),
    }
}

fn lab_failure(stop: Stop) -> anyhow::Error {
    match stop {
        Stop::Lab(error) => error,
        Stop::Verdict(verdict) => anyhow::anyhow!("{}", verdict.message()),
    }
}

/// Takes down the checks of a driver that is not loaded.
fn not_run(recorder: &mut Recorder<'_>, tools: &Tools, because: &str) {
    recorder.not_run(NODE.0, NODE.1, because);
    CHECKS.iter().for_each(|check| recorder.not_run(check.id, check.title, because));
    for (id, title, _) in values::ids(&tools.profile) {
        recorder.not_run(&id, &title, because);
    }
}
