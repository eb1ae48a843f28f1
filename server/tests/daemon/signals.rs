//! SIGTERM and SIGINT.

use std::process::Command;

use rustix::process::Signal;

use crate::common::*;
use crate::daemon::{BINARY, Daemon};

/// The daemon ends with status 0 and takes its socket along.
#[track_caller]
fn ends(mut daemon: Daemon, signal: Signal) {
    daemon.signal(signal);
    let status = daemon.wait();
    assert_eq!(status.code(), Some(0), "{status}: {}", daemon.log());
    assert!(!daemon.path().exists());
}

#[test]
fn an_idle_server_ends() {
    ends(Daemon::start(&[]), Signal::TERM);
    ends(Daemon::start(&[]), Signal::INT);
}

#[test]
fn a_server_with_a_client_ends_and_the_client_notices() {
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = Daemon::start(&[]);
        let mut client = daemon.client();
        client.map(0, 4096, Some(&memory(4096)));
        ends(daemon, signal);
        client.assert_closed();
    }
}

#[test]
fn a_server_with_a_client_that_has_said_nothing_ends() {
    let daemon = Daemon::start(&[]);
    let _client = Client::connect(&daemon.path());
    ends(daemon, Signal::TERM);
}

#[test]
fn a_server_in_the_middle_of_a_message_ends() {
    for cut in [3, 16, 20, 60] {
        let daemon = Daemon::start(&[]);
        let client = daemon.client();
        client.send_raw(&message(1, REGION_WRITE, &region_write(0, 8, &[0; 100]))[..cut], &[]);
        ends(daemon, Signal::TERM);
    }
}

#[test]
fn a_server_whose_client_does_not_read_ends() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for _ in 0..200 {
        client.send(REGION_READ, &access(0, 0, 4096), &[]);
    }
    ends(daemon, Signal::TERM);
}

#[test]
fn a_socket_of_another_process_stays() {
    let mut daemon = Daemon::start(&[]);
    std::fs::remove_file(daemon.path()).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(daemon.path()).unwrap();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(daemon.path().exists());
}

#[test]
fn the_log_says_how_many_clients_lose_their_device_and_what_that_means() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        // The tests may run under nohup.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", BINARY]);
        let mut daemon = Daemon::start_under(&mut command, &["-c", "3"]);
        let _clients = ["s0", "s2"].map(|name| Client::negotiated(&daemon.file(name)));
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(i32::from(signal == Signal::HUP)));
        let log = daemon.log();
        assert!(log.contains("ending with 2 connected: their guests lose the device"), "{log}");
        assert!(!daemon.file("s0").exists());
    }
    let mut alone = Daemon::start(&[]);
    alone.signal(Signal::TERM);
    alone.wait();
    assert!(!alone.log().contains("connected"), "{}", alone.log());
}

#[test]
fn a_server_that_was_started_to_ignore_hang_ups_goes_on() {
    let mut command = Command::new("nohup");
    command.arg(BINARY);
    let mut daemon = Daemon::start_under(&mut command, &[]);
    daemon.signal(Signal::HUP);
    daemon.client().assert_in_sync();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
}
