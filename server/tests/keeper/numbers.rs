//! A guest that reads on and on misses no number and gets none twice.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use my_rng_model::generator::{Generator, Glibc};

use crate::common::*;
use crate::kept::Kept;

const KILLS: usize = 100;

/// A reader of RANDOM: how often it has read.
#[derive(Default)]
struct Reader {
    reads: AtomicUsize,
    stop: AtomicBool,
}

impl Reader {
    /// Reads until it is told to stop. Returns the longest time of a read.
    fn read_on(&self, client: &mut Client, numbers: &mut Glibc) -> Duration {
        let mut longest = Duration::ZERO;
        while !self.stop.load(Ordering::Relaxed) {
            let begin = Instant::now();
            let read = self.reads.fetch_add(1, Ordering::Relaxed);
            assert_eq!(client.read_u32(0, 0), numbers.next_u32(), "read {read}");
            longest = longest.max(begin.elapsed());
        }
        longest
    }

    /// Waits until it has read so much more.
    fn wait_for(&self, reads: usize) {
        let end = self.reads.load(Ordering::Relaxed) + reads;
        wait_until("the guest reads", || self.reads.load(Ordering::Relaxed) > end);
    }
}

#[test]
fn hundred_kills_under_load_leave_no_gap_in_a_seeded_sequence() {
    let server = Kept::start(&["--generator", "glibc", "--seed", "1"]);
    let mut client = server.client();
    let memory = memory(1 << 20);
    client.map(0, 1 << 20, Some(&memory));
    let mut numbers = Glibc::from_seed(1);
    server.crash();
    let descriptors = server.daemon().descriptors();
    let reader = Reader::default();
    thread::scope(|scope| {
        let reading = scope.spawn(|| reader.read_on(&mut client, &mut numbers));
        for kill in 0..KILLS {
            server.kill();
            // Now and then the next one is killed while it starts.
            if kill % 4 != 0 {
                reader.wait_for(kill * 37 % 500);
            }
        }
        reader.wait_for(10);
        reader.stop.store(true, Ordering::Relaxed);
        let longest = reading.join().unwrap();
        let reads = reader.reads.load(Ordering::Relaxed);
        println!("{KILLS} kills, {reads} reads, the longest took {longest:?}");
    });
    wait_until("descriptors do not grow", || server.daemon().descriptors() <= descriptors);
    drop(client);
    let mut next = server.client();
    next.assert_in_sync();
}
