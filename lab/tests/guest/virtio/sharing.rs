//! Guests that share a source, measured in the guests.
//!
//! Three guests are on a source of 64 KiB/s. Two have floors; the third has none, but is entitled to
//! most of what is left. They read as fast as they can, all of them and then two at a time.

use std::time::{Duration, Instant};

use lab::{Guest, RunDir, Server};

use super::guest;
use crate::{assert_kernel_is_content, say};

const CONFIGURATION: &str = r#"
[[source]]
name = "slow"
source = "file:/dev/urandom"
bandwidth = { average = 64 }

[[guest]]
name = "eight"
socket = "eight.sock"
device = "virtio-rng"
source = "slow"
bandwidth = { average = 8, peak = 64, floor = 8 }

[[guest]]
name = "sixteen"
socket = "sixteen.sock"
device = "virtio-rng"
source = "slow"
bandwidth = { average = 16, peak = 64, floor = 16 }

[[guest]]
name = "greedy"
socket = "greedy.sock"
device = "virtio-rng"
source = "slow"
bandwidth = { average = 400, peak = 400 }
"#;

const NAMES: [&str; 3] = ["eight", "sixteen", "greedy"];
/// What each is promised, KiB/s.
const FLOORS: [f64; 3] = [8.0, 16.0, 0.0];
/// What the source makes, KiB/s.
const CAPACITY: f64 = 64.0;
/// How long they read.
const TIME: Duration = Duration::from_secs(8);
/// Never more than this part of what there is. The bytes are counted in the guests, one after the
/// other, and the time is the host's: a busy machine makes them differ a little.
const MOST: f64 = 1.03;
/// At least this part of a floor.
const LEAST: f64 = 0.95;
/// At least this part of what there is: on a busy machine guests do not ask all the time. That
/// nothing is left over when they do is what the scheduler's own tests show.
const LEAST_USED: f64 = 0.8;
/// How often a busy machine may hold them up.
const ATTEMPTS: usize = 5;

#[test]
fn three_guests_on_one_source_have_their_floors_and_what_an_idle_one_leaves() {
    let run = RunDir::create("virtio-sharing").expect("a run can be made");
    let server = Server::start_configured(&run, "server", CONFIGURATION).expect("it starts");
    say("booting three guests that share a source");
    let mut guests = NAMES.map(|name| {
        let guest = guest(&run).name(name).device(&server.device_of(name));
        guest.boot_from_saved().expect("the guest boots")
    });
    for busy in [&[0, 1, 2][..], &[1, 2], &[0, 1]] {
        assert_shared(&mut guests, busy);
    }
    guests.iter_mut().for_each(assert_kernel_is_content);
}

/// Checks what these get while the others are idle.
fn assert_shared(guests: &mut [Guest<'_>; 3], busy: &[usize]) {
    for _ in 0..ATTEMPTS {
        let rates = rates(guests, busy);
        let total: f64 = rates.iter().sum();
        let shown: Vec<_> =
            busy.iter().zip(&rates).map(|(i, rate)| format!("{} {rate:.1}", NAMES[*i])).collect();
        say(&format!("{} KiB/s, together {total:.1} of {CAPACITY}", shown.join(", ")));
        let floors_hold =
            busy.iter().zip(&rates).all(|(index, rate)| *rate >= FLOORS[*index] * LEAST);
        if floors_hold && (CAPACITY * LEAST_USED..=CAPACITY * MOST).contains(&total) {
            return;
        }
    }
    panic!("a floor was not kept, or the source not used as it is, {ATTEMPTS} times");
}

/// What these get in a second, in KiB, while all of them read.
fn rates(guests: &mut [Guest<'_>; 3], busy: &[usize]) -> Vec<f64> {
    for index in busy {
        guests[*index]
            .run("dd if=/dev/hwrng of=/run/read bs=64 2>/dev/null & echo $! >/run/reader")
            .expect("the guest starts to read");
    }
    let mut count = |index: &usize| {
        let bytes = guests[*index].run("wc -c </run/read").expect("it reads");
        (bytes.trim().parse::<f64>().expect("a number"), Instant::now())
    };
    let before: Vec<_> = busy.iter().map(&mut count).collect();
    std::thread::sleep(TIME);
    let after: Vec<_> = busy.iter().map(&mut count).collect();
    for index in busy {
        guests[*index].run("kill $(cat /run/reader)").expect("the reader can be ended");
    }
    let rate = |((bytes, then), (more, now)): ((f64, Instant), (f64, Instant))| {
        (more - bytes) / 1024.0 / now.duration_since(then).as_secs_f64()
    };
    before.into_iter().zip(after).map(rate).collect()
}
