//! A driver in the guest that breaks every rule of virtio 1.2 for drivers that reaches the device. QEMU's
//! own device meets the same driver beside ours.

use std::fs;

use lab::{RunDir, paths};

use super::{Options, Rng, guest};
use crate::edu::report_of;
use crate::say;

/// The module, in `lab/guest-modules`.
const MODULE: &str = "rng_hostile";

/// Takes the devices from the kernel's own driver.
const UNBIND: &str = "for device in $(grep -lE '0x(1044|1005)' /sys/bus/pci/devices/*/device); do
    device=${device%/device}
    test ! -e $device/driver || echo ${device##*/} >$device/driver/unbind
done";

/// The case whose outcome depends on the random bytes.
const RING: &str = "buffer is the ring";

/// What each case came to: its name, and what the device made of it.
type Outcomes = Vec<(String, String)>;

#[test]
fn after_each_broken_rule_of_a_split_queue_the_device_goes_on() {
    assert_goes_on(&Options::default(), "");
}

#[test]
fn after_each_broken_rule_of_a_packed_queue_the_device_goes_on() {
    assert_goes_on(&Options { packed: true, ..Options::default() }, "packed=1");
}

#[test]
fn after_each_broken_rule_of_the_legacy_interface_the_device_goes_on() {
    assert_goes_on(&Options { transitional: true, ..Options::default() }, "legacy=1");
}

/// Runs the module with these parameters against both devices.
fn assert_goes_on(options: &Options, parameters: &str) {
    let run = RunDir::create("hostile").expect("a run can be made");
    let ours = Rng::of_our_server(&run, "ours", options).expect("the device can be made");
    let own = Rng::inside_qemu(&run, "own", options).expect("the device can be made");
    let ours = outcomes(&run, &ours, options, parameters);
    let own = outcomes(&run, &own, options, parameters);
    let names =
        |outcomes: &Outcomes| outcomes.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&own));
    assert!(ours.len() > 30, "{ours:?}");
    let page = fs::read_to_string(paths::checkout().join("docs/security.md")).expect("the page");
    let mut missing = String::new();
    for ((name, ours), (_, own)) in ours.iter().zip(&own) {
        assert!(ours.ends_with("goes on"), "{name}: {ours}; QEMU's own: {own}");
        if !page.contains(&format!("\n| {name} | {ours} |")) {
            missing += &format!("| {name} | {ours} | {own} |\n");
        }
    }
    assert_eq!(missing, "", "docs/security.md has another table");
}

fn outcomes(run: &RunDir, rng: &Rng<'_>, options: &Options, parameters: &str) -> Outcomes {
    say("booting a guest with a hostile driver");
    let guest = rng.attach(guest(run));
    // A kernel gives hot-plugged devices no I/O ports.
    let guest = if options.transitional { guest.boot() } else { guest.boot_from_saved() };
    let mut guest = guest.expect("the guest boots");
    guest.run(UNBIND).expect("the kernel's driver lets it go");
    let said = report_of(&mut guest, MODULE, parameters);
    assert!(said.ends_with("done\n"), "{said}");
    let outcome = |line: &str| {
        let (name, outcome) = line.rsplit_once(": ")?;
        // The device writes random bytes over what it reads next.
        let by_chance = name.ends_with(RING) && outcome.ends_with(", goes on");
        let outcome = if by_chance { "by chance, goes on" } else { outcome };
        Some((name.to_owned(), outcome.to_owned()))
    };
    said.lines().filter_map(outcome).collect()
}
