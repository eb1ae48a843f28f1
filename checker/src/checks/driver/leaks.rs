//! What is left after a driver was loaded and unloaded many times.

use exerciser::{Job, Step};

use super::load::be_unloaded;
use super::session::Session;
use crate::checks::state::State;
use crate::report::Failure;
use crate::stop::{Checked, Stop, nonsense};

/// How many times it is loaded.
const LOADS: u32 = 100;
/// How many times before memory is looked at: what the kernel keeps for the next time is no leak.
const WARM_UP: u32 = 10;
/// Memory that may be missing in the end, in KiB: what the kernel's own ups and downs stay below.
const MEMORY: u64 = 256;
/// How many times longer than one load all of them may take.
const WAIT_TIMEOUT: u64 = 10;

/// A hundred loads leave nothing behind.
pub fn leaks(session: &mut Session<'_>) -> Checked {
    be_unloaded(session)?;
    // Without the second processor, which is told of each change of the kernel's code, and with short
    // waits for readers of what is unloaded, the loads take a quarter of the time.
    let processor = "/sys/devices/system/cpu/cpu1/online";
    let few = |few: u8| {
        format!("echo {few} >/sys/kernel/rcu_expedited; echo {} >{processor}", u8::from(few == 0))
    };
    session.bench.shell(&few(1))?;
    let result = counted(session);
    if session.bench.is_live() {
        session.bench.shell(&few(0))?;
    }
    result
}

/// Loads it, and looks at what is left.
fn counted(session: &mut Session<'_>) -> Checked {
    loads(session, WARM_UP)?;
    let first = State::take(&mut session.bench, session.profile)?;
    compare(&session.before, &first)?;
    loads(session, LOADS)?;
    let second = State::take(&mut session.bench, session.profile)?;
    compare(&session.before, &second)?;
    let Some(_) = missing(&first, &second) else { return Ok(()) };
    // The kernel may have kept some for itself; not twice.
    loads(session, LOADS)?;
    let third = State::take(&mut session.bench, session.profile)?;
    missing(&second, &third).map_or(Ok(()), |what| {
        Err(Stop::failed(format!(
            "{LOADS} loads and unloads took {what}: each kmalloc, kzalloc or vmalloc of the init or \
             probe function needs its kfree or vfree in the exit or remove function"
        )))
    })
}

/// The memory that is in use later and was not earlier, in words; nothing when it is too little to
/// be sure of.
fn missing(earlier: &State, later: &State) -> Option<String> {
    let taken = later.memory.saturating_sub(earlier.memory);
    if taken > MEMORY {
        return Some(format!("{taken} KiB of memory"));
    }
    let grown = |name: &String| {
        let (before, after) = (earlier.objects.get(name)?, later.objects.get(name)?);
        let more = after.used.saturating_sub(before.used);
        // Counts are exact but for a slab at each end.
        let sure = u64::from(LOADS).max(2 * after.per_slab);
        (more >= sure).then(|| format!("{more} objects of {name} for good"))
    };
    later.objects.keys().find_map(grown)
}

/// Loads and unloads the module so many times.
fn loads(session: &mut Session<'_>, times: u32) -> Checked {
    let name = session.module.name.clone();
    let job = Job::Loads { file: format!("/root/{name}.ko"), name, times };
    let seconds = session.profile.seconds.load * WAIT_TIMEOUT;
    let outcome = session.bench.exercise_once(job, seconds)?;
    session.came_back(&outcome, "loading and unloading again and again")?;
    match &outcome.steps[..] {
        [Step::Loads(None)] => Ok(()),
        [Step::Loads(Some(said))] => Err(Stop::failed(format!(
            "loaded and unloaded again and again, it fails in the end: {said}. Something is taken \
             each time and never given back"
        ))),
        _ => Err(nonsense(&format!("{outcome:?}"))),
    }
}

/// What is there and was not before.
fn compare(before: &State, after: &State) -> Checked {
    if let [(major, name), ..] = after.majors_beyond(before)[..] {
        return Err(Stop::failed(format!(
            "after rmmod, /proc/devices still has the major {major} ({name}): \
             unregister_chrdev_region or unregister_chrdev is missing in the exit function, or gets \
             another number or count than was registered"
        )));
    }
    if let Some(node) = after.nodes_beyond(before).first() {
        return Err(Stop::failed(format!(
            "after rmmod, {node} is still there: device_destroy and class_destroy are missing in \
             the exit function"
        )));
    }
    if let Some(region) = after.regions_beyond(before).first() {
        return Err(Stop::failed(format!(
            "after rmmod, the device's addresses are still claimed ({region} in /proc/iomem): \
             pci_release_regions or release_mem_region is missing in the exit function"
        )));
    }
    if after.mappings.len() > before.mappings.len() {
        return Err(Failure::new(format!(
            "after rmmod, BAR 0 is still mapped {} times: iounmap or pci_iounmap is missing in the \
             exit function",
            after.mappings.len() - before.mappings.len()
        ))
        .with(after.mappings.first().cloned().unwrap_or_default())
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::state::Objects;

    fn hint(after: State) -> String {
        match compare(&State::default(), &after) {
            Ok(()) => String::new(),
            Err(stop) => stop.verdict().expect("it is the student's").message(),
        }
    }

    #[test]
    fn memory_is_missing_when_it_is_more_than_the_kernels_ups_and_downs() {
        let objects = |used| Objects { used, per_slab: 64 };
        let state = |memory, used| State {
            memory,
            objects: [("kmalloc-64".to_owned(), objects(used))].into(),
            ..State::default()
        };
        assert_eq!(missing(&state(9000, 1216), &state(9100, 1280)), None);
        let memory = missing(&state(9000, 0), &state(9400, 0));
        assert_eq!(memory.as_deref(), Some("400 KiB of memory"));
        let objects = missing(&state(9000, 1216), &state(9000, 1344));
        assert_eq!(objects.as_deref(), Some("128 objects of kmalloc-64 for good"));
    }

    #[test]
    fn each_thing_left_behind_has_its_hint() {
        let none = State::default;
        assert_eq!(hint(none()), "");
        let majors = [(250, "x".to_owned())].into();
        assert!(hint(State { majors, ..none() }).contains("major 250 (x)"));
        let nodes = ["/dev/x".to_owned()].into();
        assert!(hint(State { nodes, ..none() }).contains("/dev/x is still there"));
        let regions = ["a : x".to_owned()].into();
        assert!(hint(State { regions, ..none() }).contains("a : x in /proc/iomem"));
        let mappings = vec!["x".to_owned()];
        assert!(hint(State { mappings, ..none() }).contains("iounmap or pci_iounmap"));
    }
}
