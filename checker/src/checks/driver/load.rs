//! Unloading, and loading again.

use exerciser::{End, Job, Step};

use super::RANDOM;
use super::calls::draws;
use super::session::Session;
use crate::access_log::numbers_of;
use crate::checks::state::State;
use crate::profile::IoctlKind;
use crate::report::Verdict;
use crate::stop::{Checked, Stop, ensure};

/// Why a driver that cannot be unloaded is not told to.
const NO_EXIT: &str = "the module has no module_exit, so it cannot be unloaded";

/// The driver unloads, and its node leads nowhere then.
pub fn unload(session: &mut Session<'_>) -> Checked {
    unloadable(session)?;
    session.rmmod()?;
    let now = State::take_names(&mut session.bench, session.profile)?;
    ensure(!now.modules.contains(&session.module.name), || {
        format!("rmmod said nothing, and {} is still loaded", session.module.name)
    })?;
    // Not opened, to see whether it leads anywhere: the kernel would fail.
    if let Some((major, name)) = now.majors_beyond(&session.before).first() {
        return Err(Stop::failed(format!(
            "after rmmod, the major number {major} ({name}) is still registered, and opening its \
             node would run code that is gone: unregister_chrdev (or unregister_chrdev_region) is \
             missing in the exit function"
        )));
    }
    for node in now.nodes_beyond(&session.before) {
        let job = Job::Calls { node: node.to_owned(), calls: Vec::new() };
        let outcome = session.bench.exercise_once(job, session.profile.seconds.call)?;
        let refused = matches!(outcome.steps.first(), Some(Step::NotOpened { .. }));
        if !refused || outcome.end != End::Exited(0) {
            return Err(Stop::failed(format!(
                "after rmmod, {node} can still be opened, and leads to code that is gone: \
                 cdev_del, unregister_chrdev or misc_deregister is missing in the exit function"
            )));
        }
    }
    session.remove_made_node()
}

/// Ends a check of a driver that cannot be unloaded.
pub fn unloadable(session: &Session<'_>) -> Checked {
    if session.module.unloadable {
        return Ok(());
    }
    Err(Stop::Verdict(Verdict::Skipped(NO_EXIT.to_owned())))
}

/// Unloads the driver if it is loaded, for a check of something else.
pub fn be_unloaded(session: &mut Session<'_>) -> Checked {
    unloadable(session)?;
    if session.loaded {
        match session.rmmod() {
            Err(Stop::Verdict(_)) => return Err(Stop::not_run("the driver does not unload")),
            other => other?,
        }
    }
    session.remove_made_node()
}

/// The driver loads again after it was unloaded, and gives numbers.
pub fn reload(session: &mut Session<'_>) -> Checked {
    be_unloaded(session)?;
    // In a new guest, the first load goes before.
    if !session.was_loaded {
        session.insmod()?;
        session.rmmod()?;
    }
    session.insmod()?;
    if session.no_node {
        return Ok(());
    }
    session.reopen_node()?;
    let random = session.profile.ioctl(IoctlKind::Random)?;
    let done = session.calls(vec![draws(random, 1)])?;
    session.numbers(random, &done.returned).map_err(|stop| match stop {
        Stop::Verdict(Verdict::Failed(failure)) => {
            Stop::failed(format!("loaded the second time: {}", failure.hint))
        }
        other => other,
    })?;
    if !numbers_of(session.profile, random, &done.accesses)?.is_empty() {
        return Ok(());
    }
    if session.failed.contains(RANDOM) {
        return Err(Stop::not_run("driver-random failed: the numbers are not the device's"));
    }
    Err(Stop::failed(format!(
        "loaded the second time, {} reads no number from the device: does the driver map BAR 0 \
         whenever it is loaded?",
        random.name
    )))
}
