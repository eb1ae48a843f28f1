//! The checker from end to end: our own driver, right and made wrong, in real guests; and the
//! program's answers to command lines.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use checker::check::{check, prepare};
use checker::profile::Profile;
use checker::report::Report;
use checker::submission::Submission;
use lab::{Choice, paths};

/// Our own driver's sources.
const SOURCES: [&str; 3] = ["Kbuild", "my_rng.c", "my_rng.h"];

/// Checks our own driver with a change to its header.
fn check_driver(from: &str, to: &str) -> Report {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for name in SOURCES {
        let text = fs::read_to_string(paths::checkout().join("guest-driver").join(name));
        let text = text.expect("it is in the checkout");
        let changed = if name == "my_rng.h" { text.replace(from, to) } else { text };
        fs::write(folder.path().join(name), changed).expect("writable");
    }
    let profile = Profile::published().expect("it is a profile");
    let tools = prepare(profile, Choice::V6_12).expect("the lab works");
    let driver = Some(folder.path().to_path_buf());
    let submission = Submission::named(driver, None, None).expect("it is there");
    check(&submission, &tools).expect("the lab works")
}

#[test]
fn our_own_driver_passes_every_check() {
    let report = check_driver("", "");
    let bad: Vec<_> = report.entries.iter().filter(|entry| !entry.verdict.is_fine()).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(report.total(), 100);
    assert_eq!(report.entries.len(), 13);
}

#[test]
fn a_seed_at_the_wrong_offset_fails_that_check_and_says_so() {
    let report = check_driver("MY_RNG_REG_SEED\t\t0x4", "MY_RNG_REG_SEED\t\t0x8");
    let failed = |id: &str| {
        let entry = report.entries.iter().find(|entry| entry.id == id).expect("it is a check");
        entry.verdict.message()
    };
    let hint = failed("driver-seed-register");
    assert!(hint.contains("wrote the seed to offset 0x8, where there is nothing"), "{hint}");
    let entry = report.entries.iter().find(|entry| entry.id == "driver-seed-register");
    let details = entry.expect("it is a check").verdict.details();
    let seen = "(0x8, 4 bytes) <- ";
    assert!(details.contains("the device saw") && details.contains(seen), "{details}");
    assert!(details.contains(": the seed register is SEED at 0x4"), "{details}");
    assert!(failed("driver-seed-repeats").contains("the same seed has to give"), "{report:#?}");
    assert_eq!(failed("driver-random"), "", "{report:#?}");
}

/// Checks the course's device with an interrupt, with a change to it.
fn check_interrupting(from: &str, to: &str) -> Report {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let text = fs::read_to_string(paths::checkout().join("course/devices/my_rng_irq.rs"));
    let text = text.expect("it is in the checkout");
    assert!(text.contains(from), "the device has no {from}");
    let device = folder.path().join("my_device.rs");
    fs::write(&device, text.replace(from, to)).expect("writable");
    let profile = Profile::read(&paths::checkout().join("checker/profiles/interrupt.toml"));
    let tools = prepare(profile.expect("it is a profile"), Choice::V6_12).expect("the lab works");
    let submission = Submission::named(None, None, Some(device)).expect("it is there");
    check(&submission, &tools).expect("the lab works")
}

#[test]
fn bits_that_a_write_of_ones_clears_are_checked() {
    let report = check_interrupting("", "");
    assert!(report.is_fine() && report.total() == 100, "{report:#?}");
    let report = check_interrupting("self.status &= !what;", "self.status = 0;");
    let failed: Vec<_> = report.entries.iter().filter(|entry| !entry.verdict.is_fine()).collect();
    let [entry] = failed[..] else { panic!("{failed:#?}") };
    assert_eq!(entry.id, "device-register-STATUS");
    let hint = entry.verdict.message();
    assert!(hint.starts_with("a write of 0 to STATUS (offset 0xc) leaves 0x0 of 0x1"), "{hint}");
}

fn program(arguments: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } =
        Command::new(env!("CARGO_BIN_EXE_check")).args(arguments).output().expect("it was built");
    (status.code().expect("no signal"), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn wrong_command_lines_are_the_labs_failure_and_are_explained() {
    let empty = tempfile::tempdir().expect("a folder can be made");
    let folder = empty.path().to_str().expect("plain letters");
    let file = empty.path().join("mine.toml");
    fs::write(&file, "name = 5").expect("writable");
    let file = file.to_str().expect("plain letters");
    for (arguments, words) in [
        (vec![], "nothing to check: name a submission's folder"),
        (vec![folder], "nothing to check in "),
        (vec!["--driver", "/absent"], "there is no /absent"),
        (vec!["--submissions", folder, "--jobs", "0"], "invalid value '0' for '--jobs <N>'"),
        (vec![folder, "--require", "drivers"], "invalid value 'drivers' for '--require"),
        (vec!["--submissions", folder], "has no submissions: each is a folder"),
        (vec!["--profile", file, folder], "mine.toml is no profile"),
        (vec!["--jobs", "2"], "--submissions"),
        (vec!["--submissions", folder, "--shard", "1/2"], "--reports"),
        (vec!["--submissions", folder, "--reports", "x", "--shard", "3/2"], "expected K/N"),
        (vec!["--merge", folder], "run.jsonl; expected a folder that"),
        (vec!["--merge", folder, "--jobs", "2"], "--jobs"),
        (vec!["--merge", folder, "--submissions", folder], "cannot be used with"),
        (vec!["--merge", folder, "--moodle", "x.csv"], "--reports"),
    ] {
        let (status, said) = program(&arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert_eq!(status, 2, "{arguments:?}: {said}");
    }
    assert!(Path::new(folder).exists());
}
