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

/// What each of the guests has after a time in which all ask as fast as they can.
fn draw(daemon: &Daemon, guests: &[usize], time: Duration) -> Vec<usize> {
    let end = Instant::now() + time;
    std::thread::scope(|threads| {
        let busy = |index: usize| {
            let mut guest = Guest::at(&daemon.file(&index.to_string()));
            let mut bytes = 0;
            while Instant::now() < end {
                guest.ask(64);
                bytes += guest.answer().len();
            }
            bytes
        };
        let running: Vec<_> =
            guests.iter().map(|index| threads.spawn(move || busy(*index))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn busy_guests_have_their_floors_and_share_the_rest() {
    let daemon = Daemon::configured(&sharing(&[8, 16, 0]));
    let seconds = 3;
    let had = draw(&daemon, &[0, 1, 2], Duration::from_secs(seconds));
    let total = 64 * 1024 * seconds as usize;
    println!("{had:?} of {total}");
    assert!(had[0] >= 8 * 1024 * seconds as usize * 9 / 10, "{had:?}");
    assert!(had[1] >= 16 * 1024 * seconds as usize * 9 / 10, "{had:?}");
    assert!(had.iter().sum::<usize>() <= total * 11 / 10, "{had:?}");
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
    let had = draw(&daemon, &[1], Duration::from_secs(1));
    assert!(had[0] >= 32 * 1024, "{had:?}");
}
