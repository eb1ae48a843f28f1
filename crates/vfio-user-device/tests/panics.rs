//! What the log says of a device that panics.
// Tests count in small numbers.
#![allow(clippy::cast_possible_truncation)]

mod common;
#[path = "common/device.rs"]
// Only a part of it is used here.
#[allow(dead_code)]
mod device;
#[path = "common/kept_log.rs"]
mod kept_log;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use common::{Client, QEMU_PROPOSAL, VERSION, version};
use device::{Everything, PANIC};
use kept_log::Kept;
use vfio_user_device::server::{Options, Server};

/// The only test here: there is one log in a process.
#[test]
fn the_log_has_the_panic_its_place_and_how_to_go_on() {
    let log = Kept::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let server = Server::bind(&path, Everything::that_may_panic(), Options::default()).unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || server.run(stopped.as_fd()));
    let mut client = Client::negotiated(&path);
    for _ in 0..3 {
        client.write_u32(0, PANIC, 1);
    }
    drop(client);
    let mut refused = Client::connect(&path);
    refused.request(VERSION, &version(0, 1, QEMU_PROPOSAL)).errno();
    drop((refused, stop));
    thread.join().unwrap().unwrap();

    let lines = log.take();
    let of_it = |line: &&String| line.contains("the test wants it so");
    let told: Vec<&String> = lines.iter().filter(of_it).collect();
    let [panic, refusal] = told[..] else { panic!("{lines:#?}") };
    for part in ["panicked at ", "common/device.rs:", "is disabled", "device_del, device_add"] {
        assert!(panic.contains(part), "{part:?} is not in {panic:?}");
    }
    assert!(refusal.contains("rejected ") && refusal.ends_with("start this program again"));
}
