//! `-c N`: many sockets with devices of the same kind.

use std::process::Command;
use std::time::Duration;

use crate::common::*;
use crate::daemon::{BINARY, Daemon};
use crate::rng_guest::Guest;

/// What the daemon says to these options, which are wrong.
fn refusal(options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    let output = command.arg("-s").arg(folder.path().join("s")).args(options).output().unwrap();
    assert!(!output.status.success(), "{options:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn each_socket_has_a_number_at_its_end_and_a_device_of_its_own() {
    let daemon =
        Daemon::start(&["-c", "3", "--generator", "glibc", "--seed", "1", "--socket-mode", "0640"]);
    assert!(!daemon.path().exists());
    for number in ["s0", "s1", "s2"] {
        let mut client = Client::negotiated(&daemon.file(number));
        assert_eq!(client.read_u32(0, 0), 1_804_289_383, "{number}");
        assert_eq!(client.read_u32(0, 0), 846_930_886, "{number}");
    }
    assert!(!daemon.file("s3").exists());
}

#[test]
fn one_socket_has_a_number_if_the_option_is_given() {
    let daemon = Daemon::start(&["--socket-count", "1"]);
    Client::negotiated(&daemon.file("s0"));
}

#[test]
fn all_sockets_are_served_at_once_and_removed_in_the_end() {
    let mut daemon = Daemon::start(&["-c", "20"]);
    let path = |number: usize| daemon.file(&format!("s{number}"));
    let mut clients: Vec<_> = (0..20).map(|number| Client::negotiated(&path(number))).collect();
    clients.iter_mut().for_each(|client| client.assert_in_sync());
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    clients.iter_mut().for_each(|client| client.assert_closed());
    assert!((0..20).all(|number| !daemon.file(&format!("s{number}")).exists()));
}

#[test]
fn the_limit_is_shared_out_equally() {
    let daemon = Daemon::start(&["-c", "4", "-m", "42", "-p", "3600000", "--device", "virtio-rng"]);
    for number in 0..4 {
        let mut guest = Guest::at(&daemon.file(&format!("s{number}")));
        guest.ask(64);
        assert_eq!(guest.answer().len(), 10);
        guest.ask(64);
        std::thread::park_timeout(Duration::from_millis(20));
        assert_eq!(guest.answered(), 1, "the period is an hour");
    }
}

#[test]
fn impossible_counts_are_refused() {
    assert!(refusal(&["-c", "0"]).contains("0 is not in 1..=1048576"));
    let too_many = refusal(&["-c", "1000000000000"]);
    assert!(too_many.contains("1000000000000 is not in 1..=1048576"), "{too_many}");
    assert!(refusal(&["-c", "-1"]).contains("unexpected argument"));
    let shares = refusal(&["-c", "4", "-m", "3", "--device", "virtio-rng"]);
    assert!(
        shares.contains("--max-bytes for 4 sockets: 'max-bytes' parameter must be"),
        "{shares}"
    );
}
