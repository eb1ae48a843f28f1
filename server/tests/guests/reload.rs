//! SIGHUP: the configuration file is read again, and guests that did not change do not notice.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::Signal;

use crate::common::*;
use crate::daemon::{BINARY, Daemon};
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
    let after = [
        guest("comes", ""),
        guest("changes", "seed = 2\ndisconnect = true"),
        guest("stays", glibc),
    ]
    .concat();
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
fn a_socket_whose_backlog_is_full_does_not_stop_the_daemon() {
    let mut daemon = Daemon::configured(&guest("a", ""));
    let mut client = Client::negotiated(&daemon.file("a"));
    let silent = UnixListener::bind(daemon.file("b")).unwrap();
    rustix::net::listen(&silent, 0).unwrap();
    let waiting = fill_backlog(&daemon.file("b"));
    let text = [guest("a", ""), guest("b", "")].concat();
    reload(&daemon, &text, "1 guests go on, 0 stopped, 0 started, 1 failed");
    assert!(daemon.log().contains("b is served by a running process already"));
    client.assert_in_sync();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    drop(waiting);
}

/// Connects until a connect would have to wait.
fn fill_backlog(path: &Path) -> Vec<OwnedFd> {
    let address = SocketAddrUnix::new(path).unwrap();
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let attempt = || {
        let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        connect(&client, &address).ok().map(|()| client)
    };
    std::iter::from_fn(attempt).collect()
}

#[test]
fn without_a_file_a_closed_terminal_ends_the_daemon() {
    let mut daemon = Daemon::start(&[]);
    daemon.signal(Signal::HUP);
    assert!(!daemon.wait().success());
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
    let keys = "device = \"virtio-rng\"\nvectors = 0";
    reload(
        &daemon,
        &changed(keys),
        "nothing has changed: guest \"a\" (device, vectors): connected",
    );
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

/// What is in `sharing`, with a group of the third guest's own.
fn sharing_with_group(group: &str, parent: &str) -> String {
    let keys =
        format!("device = \"virtio-rng\"\nsource = \"{group}\"\nbandwidth = {{ floor = 4 }}");
    format!(
        "[[group]]\nname = \"{group}\"\nparent = \"{parent}\"\nbandwidth = {{ floor = 4 }}\n{}{}",
        guest("c", &keys),
        sharing(64, [8, 16]),
    )
}

#[test]
fn groups_come_and_go_beside_connected_guests() {
    let daemon = Daemon::configured(&sharing(64, [8, 16]));
    let mut stays = Guest::at(&daemon.file("a"));
    let mut answered = || {
        stays.ask(4);
        assert_eq!(stays.answer(), [0; 4]);
    };
    answered();
    let summary = "2 guests go on, 0 stopped, 1 started, 0 failed";
    reload(&daemon, &sharing_with_group("tenants", "hw"), summary);
    answered();
    let mut of_group = Guest::at(&daemon.file("c"));
    of_group.ask(4);
    assert_eq!(of_group.answer(), [0; 4]);
    let summary = "3 guests go on, 0 stopped, 0 started, 0 failed";
    reload(&daemon, &sharing_with_group("others", "hw"), summary);
    answered();
    of_group.ask(4);
    assert_eq!(of_group.answer(), [0; 4]);
    let summary = "2 guests go on, 1 stopped, 0 started, 0 failed";
    reload(&daemon, &sharing(64, [8, 16]), summary);
    answered();
}

#[test]
fn what_a_guest_that_goes_was_promised_is_free_for_those_that_stay() {
    let daemon = Daemon::configured(&sharing(64, [40, 16]));
    let mut guests = ["a", "b"].map(|name| Guest::at(&daemon.file(name)));
    let smaller = sharing(32, [0, 30]);
    let (source, guests_of_it) = smaller.split_once("[[guest]]\nname = \"a\"").unwrap();
    let (_, b) = guests_of_it.split_once("[[guest]]").unwrap();
    let text = format!("{source}[[guest]]{b}");
    reload(&daemon, &text, "1 guests go on, 1 stopped, 0 started, 0 failed");
    guests[0].client.assert_closed();
    guests[1].ask(4);
    assert_eq!(guests[1].answer(), [0; 4]);
}

#[test]
fn what_could_not_be_started_is_tried_again() {
    let daemon = Daemon::configured(&guest("other", ""));
    let text = sharing(64, [8, 16]).replace("file:/dev/zero", "file:FOLDER/later");
    let text = text + &guest("other", "");
    reload(&daemon, &text, "1 guests go on, 0 stopped, 0 started, 2 failed");
    assert!(daemon.log().contains("the shared source \"hw\": cannot read"), "{}", daemon.log());
    std::fs::write(daemon.file("later"), [7; 100]).unwrap();
    reload(&daemon, &text, "1 guests go on, 0 stopped, 2 started, 0 failed");
    let mut served = Guest::at(&daemon.file("a"));
    served.ask(4);
    assert_eq!(served.answer(), [7; 4]);
}

#[test]
fn a_socket_goes_from_one_guest_to_another() {
    let daemon = Daemon::configured(&[guest("a", ""), guest("b", "")].concat());
    let clients = ["a", "b"].map(|name| Client::negotiated(&daemon.file(name)));
    let text = [guest("a", ""), guest("b", "")].concat();
    let crossed = text.replace("FOLDER/a", "FOLDER/x").replace("FOLDER/b", "FOLDER/a");
    let crossed = crossed
        .replace("FOLDER/x", "FOLDER/b")
        .replace("[[guest]]\n", "[[guest]]\ndisconnect = true\n");
    reload(&daemon, &crossed, "0 guests go on, 2 stopped, 2 started, 0 failed");
    clients.into_iter().for_each(|mut client| client.assert_closed());
    ["a", "b"].iter().for_each(|name| Client::negotiated(&daemon.file(name)).assert_in_sync());
}

#[test]
fn many_reloads_leave_nothing_behind() {
    let texts = [sharing_with_group("g", "hw"), sharing_with_group("h", "hw")];
    let texts = [0, 1].map(|seed| {
        let changes = guest("seed", &format!("seed = {seed}\ndisconnect = true"));
        texts[seed].clone() + &changes
    });
    let daemon = Daemon::configured(&texts[0]);
    let mut stays = Guest::at(&daemon.file("a"));
    stays.ask(4);
    stays.answer();
    let tasks = format!("/proc/{}/task", daemon.pid());
    let open = || (daemon.descriptors(), std::fs::read_dir(&tasks).unwrap().count());
    let before = open();
    for round in 0..30 {
        let mut moves = Guest::at(&daemon.file("c"));
        moves.ask(4);
        moves.answer();
        reload(&daemon, &texts[(round + 1) % 2], "3 guests go on, 1 stopped, 1 started, 0 failed");
        moves.ask(4);
        moves.answer();
        stays.ask(4);
        stays.answer();
    }
    // A thread may be about to end.
    wait_until("nothing is left behind", || open() == before);
}

#[test]
fn more_guests_than_before_get_more_descriptors() {
    let daemon = {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("guests.toml"), guest("a", "").replace("FOLDER/", ""))
            .unwrap();
        let mut command = Command::new("bash");
        let script = format!("ulimit -S -n 64; exec {BINARY} --config guests.toml \"$@\"");
        command.args(["-c", &script, "bash"]);
        Daemon::launch(&mut command, folder)
    };
    let many: String = (0..100).map(|number| guest(&number.to_string(), "")).collect();
    let summary = "1 guests go on, 0 stopped, 100 started, 0 failed";
    reload(&daemon, &(guest("a", "").replace("FOLDER/", "") + &many), summary);
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_does_not_keep_the_daemon_from_ending() {
    let mut daemon = Daemon::configured(&guest("a", ""));
    let file = daemon.file("guests.toml");
    std::fs::remove_file(&file).unwrap();
    mkfifoat(CWD, &file, Mode::RUSR | Mode::WUSR).unwrap();
    daemon.signal(Signal::HUP);
    let mut writer = None;
    wait_until("it opens the FIFO", || {
        writer = open(&file, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
        writer.is_some()
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!daemon.file("a").exists());
}
