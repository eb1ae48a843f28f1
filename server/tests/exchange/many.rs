//! Many guests at once: all of them stay connected, with their classes and counters.

use std::process::Command;
use std::time::Instant;

use my_rng_model::generator::{Generator, Glibc};
use serde_json::Value;

use crate::common::*;
use crate::daemon::BINARY;
use crate::exchanged::Exchanged;

const SHARING: &str = r#"
control-socket = "FOLDER/control"

[[source]]
name = "hw"
source = "file:/dev/zero"
bandwidth = { average = 64 }

[[guest]]
name = "a"
socket = "FOLDER/a"
device = "virtio-rng"
source = "hw"
bandwidth = { floor = 8 }

[[guest]]
name = "b"
socket = "FOLDER/b"
device = "virtio-rng"
source = "hw"
bandwidth = { floor = 16 }

[[guest]]
name = "c"
socket = "FOLDER/c"
generator = "glibc"
seed = 1
"#;

fn guests(server: &Exchanged) -> Value {
    let mut command = Command::new(BINARY);
    command.args(["status", "--format", "json", "--control-socket"]);
    let output = command.arg(server.daemon().file("control")).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut guests = status["guests"].clone();
    for guest in guests.as_array_mut().unwrap() {
        // These go on with the clock.
        guest["bytes-per-second"] = Value::Null;
        guest["client"]["seconds"] = Value::Null;
    }
    guests
}

#[test]
fn guests_keep_their_class_numbers_and_counters() {
    let mut server = Exchanged::configured(SHARING);
    // In this order: the numbers are not those of a daemon that has just started.
    let clients = ["b", "a", "c"].map(|name| Client::negotiated(&server.daemon().file(name)));
    let [_b, _a, mut c] = clients;
    let mut numbers = Glibc::from_seed(1);
    assert_eq!(c.read_u32(0, 0), numbers.next_u32());
    let before = guests(&server);
    assert_ne!(before[0]["class"], Value::Null, "{before}");
    for _ in 0..3 {
        server.exchange();
        // The sessions go on in threads of their own.
        wait_until("the guests are what they were", || guests(&server) == before);
    }
    assert_eq!(c.read_u32(0, 0), numbers.next_u32());
}

/// Exchanges a daemon of so many guests twice.
fn exchange_together(guests: usize) {
    let count = guests.to_string();
    let mut server = Exchanged::start(&["-c", &count, "--generator", "glibc", "--seed", "1"]);
    let path = |number: usize| server.daemon().file(&format!("s{number}"));
    let mut clients: Vec<_> = (0..guests).map(|number| Client::negotiated(&path(number))).collect();
    let mut numbers = Glibc::from_seed(1);
    for _ in 0..2 {
        let expected = numbers.next_u32();
        assert!(clients.iter_mut().all(|client| client.read_u32(0, 0) == expected));
        let begin = Instant::now();
        server.exchange();
        println!("{guests} guests: {:?}, with the start of the new process", begin.elapsed());
    }
    let expected = numbers.next_u32();
    assert!(clients.iter_mut().all(|client| client.read_u32(0, 0) == expected));
}

#[test]
fn hundred_guests_are_exchanged_together() {
    exchange_together(100);
}

#[test]
#[ignore = "many descriptors and threads: scripts/soak.sh"]
fn thousand_guests_are_exchanged_together_within_three_seconds() {
    // The exchange itself gives up after 3 s.
    exchange_together(1000);
}
