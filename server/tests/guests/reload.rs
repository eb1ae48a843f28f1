//! SIGHUP: the configuration file is read again, and guests that did not change do not notice.

use rustix::process::Signal;

use crate::common::*;
use crate::daemon::Daemon;
use crate::rng_guest::Guest;

fn guest(name: &str, keys: &str) -> String {
    format!("[[guest]]\nname = \"{name}\"\nsocket = \"FOLDER/{name}\"\n{keys}\n")
}

fn reload(daemon: &Daemon, text: &str, summary: &str) {
    let before = daemon.log().matches(summary).count();
    daemon.configure(text);
    daemon.signal(Signal::HUP);
    wait_until(summary, || daemon.log().matches(summary).count() > before);
}

#[test]
fn guests_come_and_go_and_change_while_others_stay_connected() {
    let glibc = "generator = \"glibc\"\nseed = 1";
    let before = [guest("stays", glibc), guest("changes", glibc), guest("goes", "")].concat();
    let daemon = Daemon::configured(&before);
    let mut stays = Client::negotiated(&daemon.file("stays"));
    let mut changes = Client::negotiated(&daemon.file("changes"));
    let mut goes = Client::negotiated(&daemon.file("goes"));
    assert_eq!(stays.read_u32(0, 0), 1_804_289_383);
    let after = [guest("comes", ""), guest("changes", "seed = 2"), guest("stays", glibc)].concat();
    reload(&daemon, &after, "1 guests go on, 2 stopped, 2 started, 0 failed");
    assert_eq!(stays.read_u32(0, 0), 846_930_886, "the same device, one number on");
    changes.assert_closed();
    goes.assert_closed();
    assert!(!daemon.file("goes").exists());
    Client::negotiated(&daemon.file("comes")).assert_in_sync();
    let mut changed = Client::negotiated(&daemon.file("changes"));
    assert_ne!(changed.read_u32(0, 0), 1_804_289_383);
}

#[test]
fn a_wrong_file_changes_nothing() {
    let daemon = Daemon::configured(&guest("a", ""));
    let mut client = Client::negotiated(&daemon.file("a"));
    for wrong in ["[[guest]]", &guest("b", "seed = -1"), "nonsense"] {
        reload(&daemon, wrong, "nothing has changed: ");
        client.assert_in_sync();
        assert!(!daemon.file("b").exists());
    }
    std::fs::remove_file(daemon.file("guests.toml")).unwrap();
    daemon.signal(Signal::HUP);
    wait_until("the missing file is named", || daemon.log().contains("cannot read "));
    client.assert_in_sync();
}

#[test]
fn a_guest_that_cannot_be_started_does_not_keep_others_from_it() {
    let daemon = Daemon::configured(&guest("a", ""));
    let mut client = Client::negotiated(&daemon.file("a"));
    let missing = guest("b", "").replace("FOLDER/b", "/none/b");
    let text = [guest("a", ""), missing, guest("c", "")].concat();
    reload(&daemon, &text, "1 guests go on, 0 stopped, 1 started, 1 failed");
    assert!(daemon.log().contains("cannot listen at /none/b"));
    client.assert_in_sync();
    Client::negotiated(&daemon.file("c"));
}

#[test]
fn without_a_file_there_is_nothing_to_read_again() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("there is no --config to read again");
    client.assert_in_sync();
}

/// A shared source of so many KiB/s, and two guests with these floors.
fn sharing(capacity: u32, floors: [u32; 2]) -> String {
    let mut text = format!(
        "[[source]]\nname = \"hw\"\nsource = \"file:/dev/zero\"\n\
         bandwidth = {{ average = {capacity} }}\n"
    );
    for (name, floor) in ["a", "b"].iter().zip(floors) {
        let keys =
            format!("device = \"virtio-rng\"\nsource = \"hw\"\nbandwidth = {{ floor = {floor} }}");
        text += &guest(name, &keys);
    }
    text
}

#[test]
fn numbers_of_a_shared_source_change_under_connected_guests() {
    let daemon = Daemon::configured(&sharing(64, [8, 16]));
    let mut guests = ["a", "b"].map(|name| Guest::at(&daemon.file(name)));
    let mut draw = |expected: usize| {
        for guest in &mut guests {
            guest.ask(16);
            assert_eq!(guest.answer().len(), 16, "{expected}");
        }
    };
    draw(1);
    reload(&daemon, &sharing(32, [1, 2]), "2 guests go on, 0 stopped, 0 started, 0 failed");
    draw(2);
    reload(&daemon, &sharing(32, [30, 3]), "nothing has changed: ");
    assert!(daemon.log().contains("does not fit"), "{}", daemon.log());
    draw(3);
}

#[test]
fn guests_of_a_shared_source_that_is_another_one_now_are_served_from_that() {
    let daemon = Daemon::configured(&sharing(64, [8, 16]));
    let mut before = Guest::at(&daemon.file("a"));
    before.ask(4);
    assert_eq!(before.answer(), [0; 4]);
    let other = sharing(64, [8, 16]).replace("file:/dev/zero", "chacha20:0");
    reload(&daemon, &other, "0 guests go on, 2 stopped, 2 started, 0 failed");
    before.client.assert_closed();
    let mut after = Guest::at(&daemon.file("a"));
    after.ask(4);
    assert_eq!(after.answer(), [0x76, 0xb8, 0xe0, 0xad]);
}
