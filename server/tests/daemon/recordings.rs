//! `--record`: the file that a daemon leaves.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;
use vfio_user_device::recording::{self, Event, File};

use crate::daemon::{BINARY, Daemon};

/// What is in the recording of a daemon that is told to end.
fn ended(mut daemon: Daemon) -> File {
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success(), "{}", daemon.log());
    recording::read(&daemon.file("recording")).unwrap()
}

#[test]
fn accesses_are_recorded_with_the_devices_options_and_registers() {
    let daemon = Daemon::start(&["--generator", "glibc", "--seed", "1", "--record", "recording"]);
    let mode = daemon.file("recording").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it has what the guest was given");
    let mut client = daemon.client();
    assert_eq!(client.read_u32(0, 0), 1804289383);
    drop(client);
    let file = ended(daemon);
    let Event::Begin(info) = &file.events[0].event else { panic!("{file:?}") };
    assert_eq!(info.device["device"], "my-rng");
    assert_eq!(info.device["generator"], "glibc");
    assert_eq!(info.register(0, 6).as_deref(), Some("SEED+2"));
    assert!(info.state.is_some());
    let read = file.events.iter().find_map(|event| match &event.event {
        Event::Message(message) => message.region_accesses().pop(),
        _ => None,
    });
    assert_eq!(read.unwrap().data, 1804289383_u32.to_le_bytes());
}

#[test]
fn a_client_that_is_still_connected_is_in_the_file() {
    let daemon = Daemon::start(&["--record", "recording"]);
    let mut client = daemon.client();
    client.read_u32(0, 0);
    let file = ended(daemon);
    assert!(matches!(file.events.last().unwrap().event, Event::End(_)), "{file:?}");
}

#[test]
fn a_limit_ends_the_recording_and_the_daemon_goes_on() {
    let daemon = Daemon::start(&["--record", "recording", "--record-limit", "20000"]);
    let mut client = daemon.client();
    for _ in 0..1000 {
        client.read_u32(0, 0);
    }
    daemon.wait_for_log("--record-limit");
    client.assert_in_sync();
    let file = ended(daemon);
    assert!(matches!(file.events.last().unwrap().event, Event::Stopped(_)), "{file:?}");
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let mut command = Command::new(BINARY);
    command.arg("--socket-path").arg(socket).args(["--record", "/nonexistent/file"]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("cannot record to /nonexistent/file: No such file"), "{said}");
}

#[test]
fn over_vhost_user_a_warning_says_that_nothing_is_recorded() {
    let daemon = Daemon::start(&[
        "--device",
        "virtio-rng",
        "--transport",
        "vhost-user",
        "--record",
        "recording",
    ]);
    daemon.wait_for_log("is not recorded: with vhost-user there are no messages");
    assert_eq!(ended(daemon).sessions(), 0);
}

#[test]
fn the_environment_names_the_file_for_programs_without_the_option() {
    let mut command = Command::new(BINARY);
    let daemon = Daemon::start_under(
        command.env("VFIO_USER_RECORD", "recording"),
        &["--generator", "glibc"],
    );
    drop(daemon.client());
    assert_eq!(ended(daemon).sessions(), 1);
}
