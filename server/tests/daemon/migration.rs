//! Devices that go to another daemon with their guest, by a client of vfio-user that does its part.

use std::process::Command;

use my_rng_model::generator::{Generator, Glibc};
use my_rng_model::registers::{RANDOM, SEED};
use rustix::io::Errno;

use crate::common::*;
use crate::daemon::Daemon;
use crate::rng_guest::Guest;

const GLIBC: [&str; 2] = ["--generator", "glibc"];

fn set_state(client: &mut Client, state: u32) {
    client.request(DEVICE_FEATURE, &set_migration_state(state)).ok();
}

/// Stops a client's device, and returns its state.
fn leave(client: &mut Client) -> Vec<u8> {
    set_state(client, MIG_STOP_COPY);
    let reply = client.request(MIG_DATA_READ, &mig_data_read(1 << 20)).ok();
    reply[8..].to_vec()
}

/// Gives a client's device that state, and lets it work.
fn arrive(client: &mut Client, state: &[u8]) {
    set_state(client, MIG_RESUMING);
    client.request(MIG_DATA_WRITE, &mig_data_write(state)).ok();
    set_state(client, MIG_RUNNING);
}

#[test]
fn the_numbers_of_my_rng_go_on_there_and_back() {
    let daemons = [Daemon::start(&GLIBC), Daemon::start(&GLIBC)];
    let mut clients = daemons.each_ref().map(Daemon::client);
    let mut numbers = Glibc::from_seed(42);
    clients[0].write_u32(0, SEED, 42);
    for round in 0..6 {
        let [here, there] = match &mut clients {
            [first, second] if round % 2 == 0 => [first, second],
            [first, second] => [second, first],
        };
        for _ in 0..5 {
            assert_eq!(here.read_u32(0, RANDOM), numbers.next_u32(), "round {round}");
        }
        let state = leave(here);
        arrive(there, &state);
    }
    drop(clients);
    let mut next = daemons[0].client();
    next.write_u32(0, SEED, 1);
    assert_eq!(next.read_u32(0, RANDOM), 1_804_289_383, "the next guest has a device that works");
}

fn virtio_rng(options: &[&str]) -> Daemon {
    Daemon::start(&[&["--device", "virtio-rng"], options].concat())
}

/// A guest that goes on with the device of another daemon, from that state.
fn moved(guest: &Guest, daemon: &Daemon, state: &[u8]) -> Guest {
    let mut guest = guest.moved(daemon.client());
    arrive(&mut guest.client, state);
    guest
}

#[test]
fn virtio_rng_goes_on_with_its_ring_there_and_back() {
    let daemons = [virtio_rng(&[]), virtio_rng(&[])];
    let mut guest = Guest::of(daemons[0].client());
    for round in 0..20 {
        guest.ask(32);
        assert_eq!(guest.answer().len(), 32, "round {round}");
        let state = leave(&mut guest.client);
        guest = moved(&guest, &daemons[(round + 1) % 2], &state);
    }
}

#[test]
fn a_device_with_other_features_does_not_take_the_state() {
    let daemons = [virtio_rng(&[]), virtio_rng(&["--packed"])];
    let state = leave(&mut Guest::of(daemons[0].client()).client);
    let mut other = daemons[1].client();
    set_state(&mut other, MIG_RESUMING);
    other.request(MIG_DATA_WRITE, &mig_data_write(&state)).ok();
    let refused = other.refused(DEVICE_FEATURE, &set_migration_state(MIG_RUNNING));
    assert_eq!(refused, Errno::INVAL);
    daemons[1].wait_for_log("the virtio features of the new device differ");
}

#[test]
fn a_request_that_waits_is_completed_by_the_other_device() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let dry = virtio_rng(&["--filename", &fifo.display().to_string()]);
    let other = virtio_rng(&[]);
    let mut guest = Guest::of(dry.client());
    guest.ask(16);
    let state = leave(&mut guest.client);
    assert_eq!(moved(&guest, &other, &state).answer().len(), 16);
}

#[test]
fn two_guests_that_go_on_from_one_state_get_other_bytes_each() {
    let daemons = [(); 3].map(|()| virtio_rng(&[]));
    let mut guest = Guest::of(daemons[0].client());
    // Bytes may have been read for it that it did not get.
    guest.ask(24);
    guest.answer();
    let state = leave(&mut guest.client);
    let [first, second] = [&daemons[1], &daemons[2]].map(|daemon| {
        let mut guest = moved(&guest, daemon, &state);
        guest.ask(64);
        guest.answer()
    });
    assert!(first.len() >= 16 && second.len() >= 16);
    assert_ne!(first[..16], second[..16]);
    // What the source and the limit have is the host's.
    let text = String::from_utf8(state).unwrap();
    assert!(!text.contains("held") && !text.contains("limiter"), "{text}");
}
