//! SIGHUP: limits and sources change under connected guests, and what cannot is refused.

use std::os::unix::fs::PermissionsExt;

use crate::common::*;
use crate::daemon::Daemon;
use crate::reload::{guest, reload, sharing};
use crate::rng_guest::Guest;

/// A virtio-rng with those keys.
fn entropy(name: &str, keys: &str) -> String {
    guest(name, &format!("device = \"virtio-rng\"\n{keys}"))
}

const ONE_GOES_ON: &str = "1 guests go on, 0 stopped, 0 started, 0 failed";
/// The beginning of the stream of seed 0.
const STREAM: [u8; 8] = [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90];

#[test]
fn a_limit_changes_under_a_connected_guest_and_its_request_that_waits() {
    let limited = |bytes: u32| {
        entropy("a", &format!("source = \"chacha20:0\"\nmax-bytes = {bytes}\nperiod = 3600000"))
    };
    let daemon = Daemon::configured(&limited(3));
    let mut guest = Guest::at(&daemon.file("a"));
    guest.ask(8);
    assert_eq!(guest.answer(), STREAM[..3]);
    guest.ask(8);
    reload(&daemon, &limited(5), ONE_GOES_ON);
    assert_eq!(guest.answer(), STREAM[3..5], "what was taken before counts");
    guest.ask(2);
    reload(&daemon, &entropy("a", "source = \"chacha20:0\""), ONE_GOES_ON);
    assert_eq!(guest.answer(), STREAM[5..7]);
}

#[test]
fn a_source_changes_under_a_connected_guest_and_its_request_that_waits() {
    let daemon = Daemon::configured(&guest("other", ""));
    std::fs::write(daemon.file("empty"), "").unwrap();
    let from = |source: &str| entropy("a", &format!("source = \"{source}\""));
    reload(&daemon, &from("file:FOLDER/empty"), "1 started, 0 failed");
    let mut guest = Guest::at(&daemon.file("a"));
    guest.ask(8);
    reload(&daemon, &from("file:FOLDER/missing"), "nothing has changed: guest \"a\": cannot read");
    assert_eq!(guest.answered(), 0);
    reload(&daemon, &from("chacha20:0"), ONE_GOES_ON);
    assert_eq!(guest.answer(), STREAM);
}

#[test]
fn a_guest_goes_to_a_shared_source_and_back_with_its_connection() {
    let shared = |source: &str, parent: &str| {
        format!(
            "[[source]]\nname = \"hw\"\nsource = \"{source}\"\nbandwidth = {{ average = 64 }}\n\
             [[group]]\nname = \"group\"\nparent = \"hw\"\nbandwidth = {{ floor = 8 }}\n{}",
            entropy("a", &format!("source = \"{parent}\"\nbandwidth = {{ floor = 8 }}"))
        )
    };
    let daemon = Daemon::configured(
        &entropy("a", "source = \"file:FOLDER/empty\"")
            .replace("file:FOLDER/empty", "file:/dev/zero"),
    );
    let mut guest = Guest::at(&daemon.file("a"));
    let mut draws = |expected: &[u8]| {
        guest.ask(expected.len() as u32);
        assert_eq!(guest.answer(), expected);
    };
    draws(&[0; 4]);
    reload(&daemon, &shared("file:/none", "hw"), "nothing has changed: the shared source \"hw\"");
    draws(&[0; 4]);
    reload(&daemon, &shared("chacha20:0", "hw"), ONE_GOES_ON);
    draws(&STREAM[..2]);
    reload(&daemon, &shared("chacha20:0", "group"), ONE_GOES_ON);
    draws(&STREAM[2..6]);
    reload(
        &daemon,
        &shared("file:/none", "group"),
        "nothing has changed: the shared source \"hw\"",
    );
    draws(&STREAM[6..]);
    reload(&daemon, &shared("file:/dev/zero", "group"), ONE_GOES_ON);
    draws(&[0; 4]);
    reload(&daemon, &entropy("a", "source = \"chacha20:0\""), ONE_GOES_ON);
    draws(&STREAM);
    assert!(!daemon.log().contains("disconnected"), "{}", daemon.log());
}

#[test]
fn guests_that_move_to_a_source_have_to_fit_there() {
    let two = |first: &str, second: u32| {
        format!(
            "[[source]]\nname = \"hw\"\nsource = \"chacha20:0\"\novercommit = true\n\
             bandwidth = {{ average = 16 }}\n{}{}",
            entropy("a", first),
            entropy("b", &format!("source = \"hw\"\nbandwidth = {{ floor = {second} }}"))
        )
    };
    let own = "source = \"file:/dev/zero\"";
    let daemon = Daemon::configured(&two(own, 9));
    let mut guests = ["a", "b"].map(|name| Guest::at(&daemon.file(name)));
    let moved = "source = \"hw\"\nbandwidth = { floor = 8 }";
    reload(&daemon, &two(moved, 9), "nothing has changed: the shared source \"hw\": ");
    guests[0].ask(4);
    assert_eq!(guests[0].answer(), [0; 4]);
    reload(&daemon, &two(moved, 8), "2 guests go on, 0 stopped, 0 started, 0 failed");
    guests[0].ask(4);
    assert_eq!(guests[0].answer(), STREAM[..4]);
}

#[test]
fn a_change_that_disconnects_a_guest_is_refused_and_named_unless_its_entry_allows_it() {
    let plain = [guest("a", ""), guest("b", "")].concat();
    let daemon = Daemon::configured(&plain);
    let mut client = Client::negotiated(&daemon.file("a"));
    let changed = |keys: &str| [guest("a", keys), guest("b", "seed = 1")].concat();
    for (keys, named) in [
        ("generator = \"glibc\"\nkeep-state = true", "generator, keep-state"),
        ("device = \"virtio-rng\"\nvectors = 0", "device"),
    ] {
        let line = format!("nothing has changed: guest \"a\" ({named}): connected");
        reload(&daemon, &changed(keys), &line);
    }
    let keys = "device = \"virtio-rng\"\nvectors = 0";
    client.assert_in_sync();
    Client::negotiated(&daemon.file("b")).assert_in_sync();
    let allowed = changed(&format!("{keys}\ndisconnect = true"));
    reload(&daemon, &allowed, "0 guests go on, 2 stopped, 2 started, 0 failed");
    client.assert_closed();
    assert!(daemon.log().contains("a: its client is disconnected"));
    assert!(!daemon.log().contains("b: its client is disconnected"));
    Client::negotiated(&daemon.file("a"));
}

#[test]
fn the_removal_of_a_connected_guest_is_refused_unless_its_entry_allowed_it_before() {
    let daemon = Daemon::configured(&[guest("a", ""), guest("b", "")].concat());
    let mut client = Client::negotiated(&daemon.file("a"));
    let rest = guest("b", "seed = 1");
    reload(&daemon, &rest, "nothing has changed: guest \"a\" (removed): connected");
    client.assert_in_sync();
    let allowed = [guest("a", "disconnect = true"), rest.clone()].concat();
    reload(&daemon, &allowed, "1 guests go on, 1 stopped, 1 started, 0 failed");
    client.assert_in_sync();
    reload(&daemon, &rest, "1 guests go on, 1 stopped, 0 started, 0 failed");
    client.assert_closed();
    assert!(!daemon.file("a").exists());
}

#[test]
fn the_permissions_of_a_socket_change_under_a_connected_guest() {
    let both = |mode: &str| {
        let keys = format!("socket-mode = \"{mode}\"");
        let vhost_user = format!("{keys}\ntransport = \"vhost-user\"");
        [guest("a", &keys), guest("b", &vhost_user)].concat()
    };
    let daemon = Daemon::configured(&both("0600"));
    let mut client = Client::negotiated(&daemon.file("a"));
    let mode = |name: &str| daemon.file(name).metadata().unwrap().permissions().mode() & 0o777;
    reload(&daemon, &both("0660"), "2 guests go on, 0 stopped, 0 started, 0 failed");
    client.assert_in_sync();
    assert_eq!(["a", "b"].map(mode), [0o660; 2]);
}

#[test]
fn permissions_are_as_before_when_a_reload_fails() {
    let both = |mode: &str| {
        ["a", "b"].map(|name| guest(name, &format!("socket-mode = \"{mode}\""))).concat()
    };
    let daemon = Daemon::configured(&both("0600"));
    std::fs::remove_file(daemon.file("b")).unwrap();
    reload(&daemon, &both("0660"), "nothing has changed: guest \"b\": cannot set its socket-mode");
    assert_eq!(daemon.file("a").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_guest_without_a_client_is_removed_without_a_question() {
    let daemon = Daemon::configured(&[guest("a", ""), guest("b", "")].concat());
    reload(&daemon, &guest("b", ""), "1 guests go on, 1 stopped, 0 started, 0 failed");
    assert!(!daemon.file("a").exists());
}

#[test]
fn guests_of_a_shared_source_that_is_another_one_now_are_served_from_that() {
    let daemon = Daemon::configured(&sharing(64, [8, 16]));
    let mut guest = Guest::at(&daemon.file("a"));
    guest.ask(4);
    assert_eq!(guest.answer(), [0; 4]);
    let other = sharing(64, [8, 16]).replace("file:/dev/zero", "chacha20:0");
    reload(&daemon, &other, "2 guests go on, 0 stopped, 0 started, 0 failed");
    guest.ask(4);
    assert_eq!(guest.answer(), STREAM[..4]);
}
