//! Clients one after the other, and beside each other.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use crate::common::*;
use crate::daemon::Daemon;

#[test]
fn a_second_client_is_told_so_and_closed_and_the_first_goes_on() {
    let daemon = Daemon::start(&[]);
    let mut first = daemon.client();
    for _ in 0..20 {
        let mut second = Client::connect(&daemon.path());
        let reply = second.request(VERSION, &version(0, 1, QEMU_PROPOSAL));
        assert_eq!(reply.errno(), Errno::BUSY);
        second.assert_closed();
        first.assert_in_sync();
    }
    daemon.wait_for_log("rejected client");
}

#[test]
fn silent_second_clients_are_closed_and_delay_no_other() {
    let daemon = Daemon::start(&[]);
    let mut first = daemon.client();
    let mut silent: Vec<_> = (0..40).map(|_| Client::connect(&daemon.path())).collect();
    first.assert_in_sync();
    silent.iter_mut().for_each(Client::assert_closed);
    first.assert_in_sync();
}

/// A reset, which a socket with unread data is closed with, is what QEMU 11.1 aborts on.
#[test]
fn a_client_whose_messages_are_unread_sees_the_end_and_no_reset() {
    let daemon = Daemon::start(&[]);
    // The header ends the connection, and what lies behind it stays unread.
    let hopeless = Bytes::new().u16(1).u16(GET_INFO).u32(3).u32(0).u32(0).0;
    for _ in 0..50 {
        let mut client = UnixStream::connect(daemon.path()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.write_all(&[hopeless.as_slice(), &[0; 10_000]].concat()).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn a_client_that_reconnects_at_once_is_served_a_thousand_times() {
    let daemon = Daemon::start(&[]);
    for _ in 0..1000 {
        daemon.client().assert_in_sync();
    }
}

#[test]
fn a_client_that_reconnects_with_messages_unread_is_served() {
    let daemon = Daemon::start(&[]);
    for _ in 0..100 {
        let mut client = daemon.client();
        for _ in 0..50 {
            client.send(REGION_READ, &access(0, 0, 4096), &[]);
        }
        drop(client);
        daemon.client().assert_in_sync();
    }
}

/// Numbers of two clients, the first of which has seeded the device.
fn numbers_of_two_clients(options: &[&str]) -> [u32; 2] {
    let daemon = Daemon::start(&[&["--generator", "glibc"], options].concat());
    [true, false].map(|first| {
        let mut client = daemon.client();
        if first {
            client.write_u32(0, 4, 1);
        }
        client.read_u32(0, 0)
    })
}

#[test]
fn the_next_client_does_not_go_on_from_the_seed_of_the_one_before() {
    let [first, next] = numbers_of_two_clients(&[]);
    assert_eq!(first, 1804289383);
    assert!(![1804289383, 846930886].contains(&next), "seed 1, or what follows");
    assert_ne!(next, numbers_of_two_clients(&[])[1], "chosen by the operating system");
}

#[test]
fn the_next_client_begins_with_the_seed_of_the_command_line() {
    assert_eq!(numbers_of_two_clients(&["--seed", "2"]), [1804289383, 1505335290]);
}

#[test]
fn the_device_keeps_its_state_across_clients_if_it_is_told_to() {
    assert_eq!(numbers_of_two_clients(&["--keep-state"]), [1804289383, 846930886]);
}

#[test]
fn a_half_closed_connection_gets_its_answers_and_ends() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.send(GET_INFO, &info(16), &[]);
    shutdown(client.socket(), Shutdown::Write).unwrap();
    client.receive().ok();
    client.assert_closed();
    daemon.client().assert_in_sync();
}

#[test]
fn a_client_that_goes_within_a_message_makes_way() {
    let daemon = Daemon::start(&[]);
    let write = message(1, REGION_WRITE, &region_write(0, 8, &[0; 100]));
    for cut in [1, 15, 16, 17, 31, 32, 33, 131] {
        daemon.client().send_raw(&write[..cut], &[]);
        daemon.client().assert_in_sync();
    }
    daemon.wait_for_log("closed by the client within a message");
}

#[test]
fn a_client_that_goes_before_it_said_anything_makes_way() {
    let daemon = Daemon::start(&[]);
    for _ in 0..50 {
        drop(Client::connect(&daemon.path()));
    }
    daemon.client().assert_in_sync();
}

#[test]
fn a_client_that_never_speaks_is_dropped_and_the_next_is_served() {
    let daemon = Daemon::start(&[]);
    let mut silent = Client::connect(&daemon.path());
    silent.assert_closed();
    daemon.client().assert_in_sync();
    daemon.wait_for_log("said nothing");
}

#[test]
fn a_client_that_never_ends_its_version_is_dropped() {
    let daemon = Daemon::start(&[]);
    let mut slow = Client::connect(&daemon.path());
    slow.send_raw(&message(1, VERSION, &version(0, 1, QEMU_PROPOSAL))[..40], &[]);
    slow.assert_closed();
    daemon.client().assert_in_sync();
}

#[test]
fn a_client_that_does_not_read_stops_itself_alone() {
    let daemon = Daemon::start(&[]);
    let mut greedy = daemon.client();
    // More replies than both socket buffers hold.
    for _ in 0..200 {
        greedy.send(REGION_READ, &access(0, 0, 4096), &[]);
    }
    Client::connect(&daemon.path()).assert_closed();
    for _ in 0..200 {
        assert_eq!(greedy.receive().ok().len(), 16 + 4096);
    }
    greedy.assert_in_sync();
    for _ in 0..200 {
        greedy.send(REGION_READ, &access(0, 0, 4096), &[]);
    }
    drop(greedy);
    daemon.client().assert_in_sync();
}
