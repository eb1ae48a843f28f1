//! What others can make the log say has an end.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::io::Errno;

use crate::common::*;
use crate::daemon::Daemon;
use crate::rng_guest::Guest;

/// How often a peer does what is logged.
const ROUNDS: usize = 400;
/// More lines than the first ones and those of the time that a test may take.
const LINES: usize = 50;

/// The lines of a log with one of these words are few, and it says that there were more.
#[track_caller]
fn assert_limited(daemon: &Daemon, words: &[&str]) {
    let log = daemon.log();
    for word in words {
        let lines = log.lines().filter(|line| line.contains(word)).count();
        assert!((1..LINES).contains(&lines), "{lines} lines with {word:?}");
    }
    assert!(log.contains("lines like this"), "{log}");
    assert!(log.len() < 200 * words.len() * LINES, "{} bytes", log.len());
}

#[test]
fn clients_that_come_and_go_do_not_fill_it() {
    let daemon = Daemon::start(&["-v"]);
    for _ in 0..ROUNDS {
        daemon.client().assert_in_sync();
    }
    assert_limited(&daemon, &["connected", "disconnected"]);
}

#[test]
fn clients_that_are_refused_do_not_fill_it() {
    let daemon = Daemon::start(&["-v"]);
    let mut client = daemon.client();
    for _ in 0..ROUNDS {
        let mut other = Client::connect(&daemon.path());
        other.send(VERSION, &version(0, 1, b""), &[]);
        assert_eq!(other.receive().errno(), Errno::BUSY);
    }
    client.assert_in_sync();
    assert_limited(&daemon, &["rejected"]);
}

#[test]
fn invalid_vhost_user_messages_do_not_fill_it() {
    let daemon = Daemon::start(&["--transport", "vhost-user", "-v"]);
    for _ in 0..ROUNDS {
        let mut monitor = UnixStream::connect(daemon.path()).unwrap();
        // Of either may be too late.
        let _ = monitor.write_all(&[0xff; 64]);
        let _ = monitor.read_to_end(&mut Vec::new());
    }
    assert_limited(&daemon, &["the VMM was disconnected"]);
}

#[test]
fn an_entropy_daemon_that_answers_and_closes_does_not_fill_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("egd");
    let egd = UnixListener::bind(&path).unwrap();
    let source = format!("egd:unix:{}", path.display());
    let daemon = Daemon::start(&["--device", "virtio-rng", "--source", &source, "-v"]);
    std::thread::spawn(move || {
        for client in egd.incoming() {
            let mut request = [0; 2];
            let mut client = client.unwrap();
            if client.read_exact(&mut request).is_ok() {
                client.write_all(&vec![7; request[1].into()]).unwrap();
            }
        }
    });
    let mut guest = Guest::at(&daemon.path());
    for _ in 0..ROUNDS {
        guest.ask(4);
        assert_eq!(guest.answer(), [7; 4]);
    }
    assert_limited(&daemon, &["no bytes from"]);
}

#[test]
fn senders_of_datagrams_that_become_the_source_are_named() {
    let sender = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = sender().local_addr().unwrap().port();
    let source = format!("egd:udp:127.0.0.1:{port},listen");
    let daemon = Daemon::start(&["--device", "virtio-rng", "--source", &source]);
    assert!(daemon.log().contains("any process that can send datagrams there"));
    let mut guest = Guest::at(&daemon.path());
    let senders = [sender(), sender()];
    for (number, sender) in (1..).zip(&senders) {
        guest.ask(4);
        sender.send_to(&[number; 4], ("127.0.0.1", port)).unwrap();
        assert_eq!(guest.answer(), [number; 4]);
    }
    let [first, second] = senders.map(|sender| sender.local_addr().unwrap());
    daemon.wait_for_log(&format!("the bytes come from {second} now, and not from {first}"));
}
