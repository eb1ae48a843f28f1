//! A guest that reads on and on notices nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use my_rng_model::generator::{Generator, Glibc};

use crate::common::*;
use crate::exchanged::Exchanged;

const EXCHANGES: usize = 100;

/// Reads RANDOM until it is told to stop. Returns how often, and the longest time of a read.
fn read_on(client: &mut Client, numbers: &mut Glibc, stop: &AtomicBool) -> (usize, Duration) {
    let (mut reads, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        assert_eq!(client.read_u32(0, 0), numbers.next_u32(), "read {reads}");
        longest = longest.max(begin.elapsed());
        reads += 1;
    }
    (reads, longest)
}

#[test]
fn a_hundred_exchanges_leave_no_gap_in_a_seeded_sequence() {
    let mut server = Exchanged::start(&["--generator", "glibc", "--seed", "1"]);
    let mut client = server.client();
    let memory = memory(1 << 20);
    client.map(0, 1 << 20, Some(&memory));
    let stop = AtomicBool::new(false);
    let mut numbers = Glibc::from_seed(1);
    server.exchange();
    let (descriptors, resident) = (server.descriptors(), server.memory());
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_on(&mut client, &mut numbers, &stop));
        for _ in 1..EXCHANGES {
            server.exchange();
        }
        stop.store(true, Ordering::Relaxed);
        let (reads, longest) = reader.join().unwrap();
        println!("{EXCHANGES} exchanges, {reads} reads, the longest took {longest:?}");
        assert!(reads > EXCHANGES, "{reads}");
        // QEMU gives a device up after 5 s; what is measured on an idle machine is printed.
        assert!(longest < Duration::from_secs(3), "{longest:?}");
    });
    wait_until("descriptors do not grow", || server.descriptors() <= descriptors);
    assert!(server.memory() < resident + 512, "{} KiB, first {resident}", server.memory());
    drop(client);
    let mut next = server.client();
    next.assert_in_sync();
    assert!(server.daemon().path().exists());
    drop(next);
    server.terminate();
    assert!(!server.daemon().path().exists(), "the last process removes the socket file");
    assert!(!server.daemon().file("control").exists());
}

#[test]
fn an_idle_client_and_one_that_has_not_spoken_stay_connected() {
    let mut server = Exchanged::start(&["--generator", "glibc", "--seed", "1"]);
    let mut client = server.client();
    let mut numbers = Glibc::from_seed(1);
    assert_eq!(client.read_u32(0, 0), numbers.next_u32());
    server.exchange();
    assert_eq!(client.read_u32(0, 0), numbers.next_u32());
    drop(client);
    let mut silent = Client::connect(&server.daemon().path());
    server.daemon().wait_for_log("connected");
    server.exchange();
    let reply = silent.request(VERSION, &version(0, 1, QEMU_PROPOSAL));
    assert_eq!(reply.flags, REPLY, "{reply:?}");
    silent.assert_in_sync();
}

#[test]
fn a_message_of_which_a_part_has_come_is_completed_by_the_new_process() {
    let mut server = Exchanged::start(&["--generator", "glibc", "--seed", "1"]);
    let mut client = server.client();
    for cut in [1, 16, 20, 40] {
        // A message that is longer than what is asked for at once, in two pieces.
        let write = region_write(0, 0x100, &[0; 64]);
        let bytes = message(7, REGION_WRITE, &write);
        client.send_raw(&bytes[..cut], &[]);
        server.exchange();
        client.send_raw(&bytes[cut..], &[]);
        assert_eq!(client.receive().ok(), access(0, 0x100, 64), "cut at {cut}");
    }
    client.assert_in_sync();
}

#[test]
fn a_socket_that_was_passed_is_handed_over_and_its_file_stays() {
    let mut server = Exchanged::passed();
    let mut client = server.client();
    let mut numbers = Glibc::from_seed(1);
    for _ in 0..2 {
        assert_eq!(client.read_u32(0, 0), numbers.next_u32());
        server.exchange();
    }
    assert_eq!(client.read_u32(0, 0), numbers.next_u32());
    server.terminate();
    assert!(server.daemon().path().exists(), "it is its maker's");
}
