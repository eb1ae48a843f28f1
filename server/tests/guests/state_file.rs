//! A seeded sequence goes on over a restart of the daemon, and a file that cannot be used is set aside.

use std::fs;
use std::process::Command;

use my_rng_model::generator::{ChaCha20, Generator, Glibc};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::*;
use crate::daemon::{BINARY, Daemon};
use crate::rng_guest::Guest;

/// A daemon in a folder that outlives it.
fn start(folder: &TempDir, options: &[&str]) -> Daemon {
    let mut command = Command::new(BINARY);
    command.arg("--socket-path").arg(folder.path().join("s"));
    command.arg("--state-file").arg(folder.path().join("states")).args(options);
    Daemon::launch(&mut command, tempfile::tempdir().unwrap())
}

fn end(mut daemon: Daemon) -> String {
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success());
    daemon.log()
}

#[test]
fn a_seeded_sequence_goes_on_over_restarts_of_the_daemon_and_of_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--generator", "glibc", "--seed", "1"];
    let mut numbers = Glibc::from_seed(1);
    let states = folder.path().join("states");
    for _ in 0..3 {
        let daemon = start(&folder, &options);
        assert!(!states.exists(), "it is used once");
        for _ in 0..2 {
            let mut client = Client::negotiated(&folder.path().join("s"));
            assert_eq!(client.read_u32(0, 0), numbers.next_u32());
        }
        // The daemon may end with a client and without one.
        let mut client = Client::negotiated(&folder.path().join("s"));
        assert_eq!(client.read_u32(0, 0), numbers.next_u32());
        end(daemon);
        assert!(states.exists());
    }
}

#[test]
fn the_bytes_of_a_seeded_source_go_on_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--device", "virtio-rng", "--source", "chacha20:7"];
    let mut stream = [0; 39];
    ChaCha20::from_seed(7).fill(&mut stream);
    for expected in stream.chunks(13) {
        let daemon = start(&folder, &options);
        let mut guest = Guest::at(&folder.path().join("s"));
        guest.ask(13);
        assert_eq!(guest.answer(), expected);
        end(daemon);
    }
}

#[test]
fn a_file_of_another_device_or_of_none_is_set_aside_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let states = folder.path().join("states");
    fs::write(&states, "no states").unwrap();
    let log = end(start(&folder, &["--generator", "glibc", "--seed", "1"]));
    assert!(log.contains("cannot be understood") && log.contains("states.bad1 now"), "{log}");
    let log = end(start(&folder, &["--device", "virtio-rng"]));
    assert!(log.contains("it is of my-rng, and the guest has virtio-rng"), "{log}");
    assert!(folder.path().join("states.bad2").exists());
}
