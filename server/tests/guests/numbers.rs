//! Class numbers, and the status file that keeps them over a restart.

use std::process::Command;

use rustix::process::Signal;

use crate::common::*;
use crate::daemon::{BINARY, Daemon};

const SHARING: &str = r#"
status-file = "FOLDER/classes.json"
control-socket = "FOLDER/control"

[[source]]
name = "hw"
source = "file:/dev/zero"
bandwidth = { average = 64 }

[[guest]]
name = "a"
socket = "FOLDER/a"
device = "virtio-rng"
source = "hw"
bandwidth = { floor = 8 }

[[guest]]
name = "b"
socket = "FOLDER/b"
device = "virtio-rng"
source = "hw"
bandwidth = { floor = 16 }
"#;

/// The class of a guest, as `status` tells it.
fn class(daemon: &Daemon, guest: &str) -> Option<u64> {
    let status = crate::status::json(daemon);
    let guests = status["guests"].as_array().unwrap();
    guests.iter().find(|status| status["name"] == guest).unwrap()["class"].as_u64()
}

/// Connects, and waits until the guest has a class.
fn connect(daemon: &Daemon, guest: &str) -> (Client, u64) {
    let client = Client::negotiated(&daemon.file(guest));
    let class = class(daemon, guest).expect("a connected guest has a class");
    (client, class)
}

/// Ends a daemon and starts it anew in the same folder.
fn restart(mut daemon: Daemon) -> Daemon {
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    let folder = daemon.take_folder();
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(folder.path().join("guests.toml"));
    Daemon::launch(&mut command, folder)
}

#[test]
fn a_number_is_given_at_connect_and_returned_in_the_end() {
    let daemon = Daemon::configured(SHARING);
    assert_eq!(class(&daemon, "a"), None);
    let (b, first) = connect(&daemon, "b");
    let (_a, second) = connect(&daemon, "a");
    assert_ne!(first, second);
    drop(b);
    wait_until("the number is returned", || class(&daemon, "b").is_none());
    let (_b, again) = connect(&daemon, "b");
    assert_eq!(again, first, "the lowest free one");
}

#[test]
fn connected_guests_have_their_numbers_again_after_a_restart() {
    let daemon = Daemon::configured(SHARING);
    let (_b, b_before) = connect(&daemon, "b");
    let (_a, a_before) = connect(&daemon, "a");
    let daemon = restart(daemon);
    // In the other order, so that numbers in the order of coming would be others.
    let (_a, a_after) = connect(&daemon, "a");
    let (_b, b_after) = connect(&daemon, "b");
    assert_eq!((a_after, b_after), (a_before, b_before));
}

#[test]
fn a_guest_that_was_gone_before_the_restart_has_no_number_kept() {
    let daemon = Daemon::configured(SHARING);
    let (b, first) = connect(&daemon, "b");
    drop(b);
    wait_until("the number is returned", || class(&daemon, "b").is_none());
    let daemon = restart(daemon);
    let (_a, number) = connect(&daemon, "a");
    assert_eq!(number, first);
}

#[test]
fn a_killed_daemons_guests_have_their_numbers_again() {
    let mut daemon = Daemon::configured(SHARING);
    let (_b, before) = connect(&daemon, "b");
    daemon.signal(Signal::KILL);
    daemon.wait();
    let daemon = restart_after_end(daemon);
    let (_a, other) = connect(&daemon, "a");
    let (_b, after) = connect(&daemon, "b");
    assert_eq!(after, before);
    assert_ne!(other, before);
}

fn restart_after_end(mut daemon: Daemon) -> Daemon {
    let folder = daemon.take_folder();
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(folder.path().join("guests.toml"));
    Daemon::launch(&mut command, folder)
}

#[test]
fn an_unreadable_status_file_is_set_aside_and_reported() {
    let daemon = Daemon::configured(SHARING);
    let (_b, _) = connect(&daemon, "b");
    let path = daemon.file("classes.json");
    let mut daemon = daemon;
    daemon.signal(Signal::TERM);
    daemon.wait();
    std::fs::write(&path, "{ half a fi").unwrap();
    let daemon = restart_after_end(daemon);
    assert_eq!(std::fs::read_to_string(daemon.file("classes.json.bad1")).unwrap(), "{ half a fi");
    assert!(daemon.log().contains("cannot be understood"), "{}", daemon.log());
    connect(&daemon, "b");
}

#[test]
fn a_guest_that_leaves_the_configuration_leaves_its_number() {
    let daemon = Daemon::configured(SHARING);
    let (_b, before) = connect(&daemon, "b");
    let daemon = restart(daemon);
    // It has not come back yet.
    let (without_b, _) = SHARING.split_once("[[guest]]\nname = \"b\"").unwrap();
    daemon.configure(without_b);
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("1 guests go on, 1 stopped");
    let (_a, number) = connect(&daemon, "a");
    assert_eq!(number, before);
}

#[test]
fn a_status_file_that_cannot_be_written_is_reported_once_and_serves_all_the_same() {
    let text = SHARING.replace("FOLDER/classes.json", "FOLDER/later/classes.json");
    // Its folder comes later.
    let daemon = Daemon::configured_with(&text, &["--sandbox-folder", "."]);
    let complaint = "cannot write the status file";
    assert_eq!(daemon.log().matches(complaint).count(), 1, "{}", daemon.log());
    for _ in 0..3 {
        let (b, _) = connect(&daemon, "b");
        drop(b);
        wait_until("the number is returned", || class(&daemon, "b").is_none());
    }
    assert_eq!(daemon.log().matches(complaint).count(), 1, "{}", daemon.log());
    std::fs::create_dir(daemon.file("later")).unwrap();
    let (_b, _) = connect(&daemon, "b");
    assert!(daemon.log().contains("the status file can be written again"), "{}", daemon.log());
}
