//! The rings of a virtio-rng go on at the right index: no request is lost, and none completed twice.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use my_rng_model::generator::ChaCha20;

use crate::common::*;
use crate::kept::Kept;
use crate::rng_guest::Guest;

const KILLS: usize = 100;
/// Bytes of a request: not as many as Linux asks for, so that they are completed at once.
const LENGTH: usize = 48;

#[test]
fn hundred_kills_under_load_complete_each_request_once() {
    let server = Kept::start(&["--device", "virtio-rng", "--source", "chacha20:7"]);
    assert_completes_each_once(&server, Guest::at(&server.daemon().path()));
}

#[test]
fn hundred_kills_under_load_complete_each_request_of_a_packed_queue_once() {
    let server = Kept::start(&["--device", "virtio-rng", "--packed", "--source", "chacha20:7"]);
    assert_completes_each_once(&server, Guest::packed_at(&server.daemon().path()));
}

fn assert_completes_each_once(server: &Kept, mut guest: Guest) {
    let (answers, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut stream = ChaCha20::from_seed(7);
            while !stop.load(Ordering::Relaxed) {
                guest.ask(LENGTH as u32);
                let mut expected = [0; LENGTH];
                stream.fill(&mut expected);
                let answer = guest.answer();
                assert_eq!(answer, expected, "{answers:?}");
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
        let wait_for = |more| {
            let end = answers.load(Ordering::Relaxed) + more;
            wait_until("requests are answered", || answers.load(Ordering::Relaxed) > end);
        };
        for kill in 0..KILLS {
            server.kill();
            if kill % 4 != 0 {
                wait_for(kill * 37 % 200);
            }
        }
        wait_for(10);
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap();
    });
    println!("{KILLS} kills, {answers:?} requests");
}
