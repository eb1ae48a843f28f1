//! Guests that share a source, over their sockets.

use std::time::{Duration, Instant};

use crate::common::*;
use crate::daemon::Daemon;
use crate::rng_guest::Guest;

/// A source of 64 KiB/s and guests with these floors.
fn sharing(floors: &[u32]) -> String {
    let mut text = "[[source]]\nname = \"hw\"\nsource = \"file:/dev/zero\"\n\
                    bandwidth = { average = 64 }\novercommit = true\n"
        .to_owned();
    for (index, floor) in floors.iter().enumerate() {
        text += &format!(
            "[[guest]]\nname = \"{index}\"\nsocket = \"FOLDER/{index}\"\ndevice = \"virtio-rng\"\n\
             source = \"hw\"\nbandwidth = {{ floor = {floor} }}\n"
        );
    }
    text
}

/// What each of the guests has after about this time, in which all ask for more than there is, and how
/// long it really was.
fn draw(daemon: &Daemon, guests: &[usize], time: Duration) -> (Vec<usize>, Duration) {
    let begun = Instant::now();
    let had = std::thread::scope(|threads| {
        let busy = |index: usize| {
            let mut guest = Guest::at(&daemon.file(&index.to_string()));
            guest.ask_until(begun + time, 1024)
        };
        let running: Vec<_> =
            guests.iter().map(|index| threads.spawn(move || busy(*index))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    (had, begun.elapsed())
}

#[test]
fn busy_guests_have_their_floors_and_share_the_rest() {
    let daemon = Daemon::configured(&sharing(&[8, 40, 0]));
    let (had, time) = draw(&daemon, &[0, 1, 2], Duration::from_secs(3));
    let sum = had.iter().sum::<usize>();
    // Their parts of what all have together, of 64 KiB/s.
    assert!(had[0] >= sum * 8 / 64 * 9 / 10, "{had:?}");
    assert!(had[1] >= sum * 40 / 64 * 9 / 10, "{had:?}");
    assert!(sum as f64 <= 65536.0 * time.as_secs_f64() * 1.1, "{had:?} in {time:?}");
}

#[test]
fn a_guest_whose_floor_does_not_fit_any_more_is_refused_with_the_numbers() {
    let daemon = Daemon::configured(&sharing(&[40, 32, 24]));
    let first = Client::negotiated(&daemon.file("0"));
    let mut second = Client::connect(&daemon.file("1"));
    second.send(VERSION, &version(0, 1, b"{}\0"), &[]);
    second.receive().errno();
    daemon.wait_for_log(
        "1: its floor of 32 KiB/s does not fit: 24 KiB/s of hw's 64 KiB/s are left for floors",
    );
    let _third = Client::negotiated(&daemon.file("2"));
    drop(first);
    wait_until("there is room again", || {
        let mut second = Client::connect(&daemon.file("1"));
        second.send(VERSION, &version(0, 1, b"{}\0"), &[]);
        second.receive().error == 0
    });
}

#[test]
fn a_guest_that_goes_while_it_waits_does_not_hold_the_others_up() {
    let daemon = Daemon::configured(&sharing(&[0, 0]));
    for _ in 0..20 {
        let mut guest = Guest::at(&daemon.file("0"));
        guest.ask(65536);
        drop(guest);
    }
    let (had, time) = draw(&daemon, &[1], Duration::from_secs(1));
    assert!(had[0] as f64 >= 32768.0 * time.as_secs_f64(), "{had:?} in {time:?}");
}
