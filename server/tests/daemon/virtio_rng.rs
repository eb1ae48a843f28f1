//! The entropy device as the daemon serves it: the options that only it has, and requests that
//! wait while the socket is answered.

use std::process::{Command, Output};
use std::time::Duration;

use my_rng_model::generator::{ChaCha20, Generator};

use crate::common::*;
use crate::daemon::{BINARY, Daemon};
use crate::rng_guest::Guest;

fn entropy(options: &[&str]) -> Daemon {
    Daemon::start(&[&["--device", "virtio-rng"], options].concat())
}

fn run(options: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.arg("--socket-path").arg(folder.path().join("s"));
    command.args(["--device", "virtio-rng"]).args(options).output().unwrap()
}

#[track_caller]
fn is_refused(options: &[&str], reason: &str) {
    let output = run(options);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{options:?}");
    assert!(said.contains(reason), "{options:?} said {said:?}");
}

#[test]
fn impossible_limits_are_refused_in_qemus_words() {
    let bytes = "'max-bytes' parameter must be positive, and less than 2^63";
    for value in ["0", "-1", "9223372036854775808"] {
        is_refused(&["--max-bytes", value], bytes);
        is_refused(&["-m", value], bytes);
    }
    is_refused(&["-m", "1", "--period", "0"], "'period' parameter expects a positive integer");
    for value in ["-1", "4294967296"] {
        is_refused(&["-m", "1", "-p", value], "Parameter 'period' expects uint32_t");
    }
}

#[test]
fn sources_that_cannot_be_are_refused() {
    is_refused(&["--source", "/dev/urandom"], "unknown kind; expected one of");
    is_refused(&["--source", "file:/does/not/exist"], "/does/not/exist");
    for option in ["-f", "--filename", "--rng-source"] {
        is_refused(&[option, "/does/not/exist"], "/does/not/exist");
    }
    is_refused(&["--source", "getrandom", "--file-loop"], "cannot use --file-loop with");
    is_refused(&["--source", "getrandom", "-f", "/dev/zero"], "cannot be used with");
}

#[test]
fn options_of_the_other_device_are_refused() {
    is_refused(&["--seed", "1"], "--seed is an option of --device my-rng, and this is virtio-rng");
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let mut command = Command::new(BINARY);
    let output = command.arg("--socket-path").arg(socket).args(["-m", "5"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("--max-bytes is an option of --device virtio-rng"), "{said}");
}

#[test]
fn each_name_of_a_file_is_a_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, b"0123456789").unwrap();
    let path = path.to_str().unwrap();
    let source = format!("file:{path}");
    for options in
        [["--source", &source], ["-f", path], ["--filename", path], ["--rng-source", path]]
    {
        let daemon = entropy(&options);
        let mut guest = Guest::at(&daemon.path());
        guest.ask(4);
        assert_eq!(guest.answer(), b"0123", "{options:?}");
    }
}

#[test]
fn a_file_that_ends_makes_requests_wait_unless_it_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, b"01234").unwrap();
    let option = path.to_str().unwrap();
    let daemon = entropy(&["-f", option]);
    let mut guest = Guest::at(&daemon.path());
    guest.ask(5);
    assert_eq!(guest.answer(), b"01234");
    guest.ask(3);
    daemon.wait_for_log("--file-loop");
    assert_eq!(guest.answered(), 1);
    std::fs::write(&path, b"01234567").unwrap();
    assert_eq!(guest.answer(), b"567");

    let daemon = entropy(&["-f", option, "--file-loop"]);
    let mut guest = Guest::at(&daemon.path());
    let mut bytes = Vec::new();
    while bytes.len() < 20 {
        guest.ask(8);
        bytes.extend(guest.answer());
    }
    assert_eq!(bytes[..20], *b"01234567012345670123");
}

#[test]
fn a_seeded_stream_is_the_hosts_and_is_announced_loudly() {
    let daemon = entropy(&["--source", "chacha20:7"]);
    let mut stream = ChaCha20::from_seed(7);
    let expected: Vec<u8> = (0..64).flat_map(|_| stream.next_u32().to_le_bytes()).collect();
    let mut guest = Guest::at(&daemon.path());
    let mut bytes = Vec::new();
    for length in [64, 1, 100, 91] {
        guest.ask(length);
        bytes.extend(guest.answer());
    }
    assert_eq!(bytes, expected);
    assert!(daemon.log().contains("PREDICTABLE"), "{}", daemon.log());
}

#[test]
fn registers_are_answered_as_fast_while_a_request_waits() {
    let daemon = entropy(&["-m", "64", "-p", "3600000"]);
    let mut guest = Guest::at(&daemon.path());
    guest.ask(64);
    assert_eq!(guest.answer().len(), 64);
    let before = guest.register_read(2000);
    guest.ask(64);
    let waiting = guest.register_read(2000);
    assert_eq!(guest.answered(), 1, "an hour is not over");
    println!("median and p99 of a register read: {before:?}, while a request waits {waiting:?}");
    assert!(waiting.0 < before.0 * 5, "{waiting:?} while a request waits, {before:?} before");
}

#[test]
fn a_source_that_has_nothing_for_long_is_in_the_log_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let daemon = entropy(&["-v", "-f", fifo.to_str().unwrap()]);
    let mut guest = Guest::at(&daemon.path());
    guest.ask(4);
    daemon.wait_for_log("it has nothing at the moment; requests stay pending");
    std::fs::write(&fifo, b"1234").unwrap();
    assert_eq!(guest.answer(), b"1234");
    daemon.wait_for_log("gives bytes again");
    assert_eq!(daemon.log().matches("requests stay pending").count(), 1);
}

#[test]
fn a_waiting_request_costs_no_processor_time() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for options in [&["-f", fifo.to_str().unwrap()][..], &["-m", "1", "-p", "3600000"]] {
        let daemon = entropy(options);
        let mut guest = Guest::at(&daemon.path());
        guest.ask(1);
        if options.len() > 2 {
            guest.answer();
            guest.ask(1);
        }
        let answered = guest.answered();
        let ticks = || {
            let status = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
            let (_, numbers) = status.rsplit_once(')').unwrap();
            let number = |at| numbers.split_whitespace().nth(at).unwrap().parse::<u64>().unwrap();
            number(11) + number(12)
        };
        let before = ticks();
        std::thread::park_timeout(Duration::from_millis(500));
        assert!(ticks() - before <= 5, "of 50 ticks, for {options:?}");
        assert_eq!(guest.answered(), answered);
    }
}

#[test]
fn a_client_that_goes_while_its_request_waits_leaves_nothing_behind() {
    let daemon = entropy(&["-m", "1", "-p", "3600000"]);
    let open = daemon.descriptors();
    for _ in 0..20 {
        let mut guest = Guest::at(&daemon.path());
        guest.ask(1);
        guest.ask(1);
    }
    let mut client = daemon.client();
    client.assert_in_sync();
    drop(client);
    wait_until("the descriptors are closed", || daemon.descriptors() <= open);
    assert_eq!(daemon.guest_maps(), 0);
}
