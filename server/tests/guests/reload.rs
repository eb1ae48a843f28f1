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

pub fn guest(name: &str, keys: &str) -> String {
    format!("[[guest]]\nname = \"{name}\"\nsocket = \"FOLDER/{name}\"\n{keys}\n")
}

pub fn reload(daemon: &Daemon, text: &str, summary: &str) {
    let counts = || {
        let log = daemon.log();
        (log.matches(summary).count(), log.matches("connected, and this cannot change").count())
    };
    let (before, mut rejected) = counts();
    daemon.configure(text);
    daemon.signal(Signal::HUP);
    wait_until(summary, || {
        let (summaries, rejections) = counts();
        if summaries == before && rejections > rejected {
            // The daemon has not seen yet that a client has gone.
            rejected = rejections;
            daemon.signal(Signal::HUP);
        }
        summaries > before
    });
}

#[test]
fn guests_come_and_go_and_change_while_others_stay_connected() {
    let glibc = "generator = \"glibc\"\nseed = 1";
    let before =
        [guest("stays", glibc), guest("changes", glibc), guest("goes", "disconnect = true")]
            .concat();
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
    assert!(daemon.log().contains("b is in use by a running process"));
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
    // The tests may run under nohup.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", BINARY]);
    let mut daemon = Daemon::start_under(&mut command, &[]);
    daemon.signal(Signal::HUP);
    assert!(!daemon.wait().success());
}

/// A shared source of so many KiB/s, and two guests with these floors.
pub fn sharing(capacity: u32, floors: [u32; 2]) -> String {
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

/// What is in `sharing`, with a group of the third guest's own.
fn sharing_with_group(group: &str, parent: &str) -> String {
    let keys =
        format!("device = \"virtio-rng\"\nsource = \"{group}\"\nbandwidth = {{ floor = 4 }}");
    format!(
        "[[group]]\nname = \"{group}\"\nparent = \"{parent}\"\nbandwidth = {{ floor = 4 }}\n{}{}",
        guest("c", &format!("{keys}\ndisconnect = true")),
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
fn the_floor_of_a_removed_guest_is_free_for_the_others() {
    let allowed = sharing(64, [40, 16]).replace("[[guest]]\n", "[[guest]]\ndisconnect = true\n");
    let daemon = Daemon::configured(&allowed);
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
fn guests_that_could_not_start_are_retried() {
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
