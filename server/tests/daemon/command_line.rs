//! Options, logs, and how a supervisor learns that the socket listens.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Output, Stdio};

use crate::common::*;
use crate::daemon::{BINARY, Daemon};

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_mentions_every_option() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let help = text(&output.stdout);
    for option in [
        "--socket-path",
        "--device",
        "--generator",
        "--seed",
        "--virtio",
        "--packed",
        "--vectors",
        "--source",
        "-f, --filename",
        "--rng-source",
        "--file-loop",
        "-m, --max-bytes",
        "-p, --period",
        "--socket-mode",
        "--sandbox <MODE>",
        "--sandbox-folder <PATH>",
        "--ready-fd",
        "--busy-poll-us",
        "--record",
        "--record-limit",
        "-v, --verbose",
        "--help",
        "--version",
    ] {
        assert!(help.contains(option), "{option} is missing in:\n{help}");
    }
}

#[test]
fn version_is_the_crates() {
    let output = run(&["--version"]);
    let version = concat!("my-rng-server ", env!("CARGO_PKG_VERSION"));
    let said = text(&output.stdout);
    let rest = said.strip_prefix(version).expect("it begins with name and version").trim();
    // A source without its history names no commit.
    let commit = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let is_commit = |commit: &str| commit.chars().all(|digit| digit.is_ascii_hexdigit());
    assert!(rest.is_empty() || commit.is_some_and(is_commit), "{said}");
}

#[test]
fn wrong_command_lines_end_with_status_2() {
    for arguments in [
        &[][..],
        &["--socket-path"],
        &["--socket-path", "x", "--generator", "dice"],
        &["--socket-path", "x", "--seed", "-1"],
        &["--socket-path", "x", "--socket-mode", "999"],
        &["--socket-path", "x", "--device", "toaster"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_path_that_is_served_is_refused_and_goes_on() {
    let daemon = Daemon::start(&[]);
    let output = run(&["--socket-path", daemon.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is in use by a running process"));
    daemon.client().assert_in_sync();
}

#[test]
fn a_file_that_is_no_socket_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    let output = run(&["--socket-path", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
}

#[test]
fn a_ready_descriptor_that_is_not_open_is_refused_before_the_socket_exists() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    // Low numbers are those that the daemon's own descriptors will have.
    for number in ["3", "4", "5", "6", "7", "8", "77"] {
        let closed = "exec \"$0\" --socket-path \"$1\" --ready-fd $2 3>&- 4>&- 5>&- 6>&- 7>&- 8>&-";
        let mut shell = Command::new("sh");
        shell.args(["-c", closed, BINARY]).arg(&path).arg(number);
        let output = shell.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{number}");
        assert!(text(&output.stderr).contains(&format!("--ready-fd {number}")));
        assert!(!path.exists());
    }
}

#[test]
fn the_ready_descriptor_gets_a_newline_once_the_socket_listens_and_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut child = Command::new("sh")
        .args(["-c", "exec \"$0\" --socket-path \"$1\" --ready-fd 3 3>&1 >&2", BINARY])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = child.stdout.take().unwrap();
    let mut said = [0; 2];
    wait_readable(&ready, "the newline");
    assert_eq!(ready.read(&mut said).unwrap(), 1);
    assert_eq!(said[0], b'\n');
    Client::negotiated(&path).assert_in_sync();
    wait_readable(&ready, "the end of the pipe");
    assert_eq!(ready.read(&mut said).unwrap(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.path().metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_socket_mode_is_what_was_asked_for() {
    for mode in ["0660", "666", "0600"] {
        let daemon = Daemon::start(&["--socket-mode", mode]);
        let expected = u32::from_str_radix(mode, 8).unwrap();
        let actual = daemon.path().metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(actual, expected);
    }
}

#[test]
fn systemd_is_notified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(RECEIVE_TIMEOUT)).unwrap();
    let _daemon = Daemon::start_under(Command::new(BINARY).env("NOTIFY_SOCKET", &path), &[]);
    let mut datagram = [0; 256];
    let length = socket.recv(&mut datagram).unwrap();
    let said = text(&datagram[..length]);
    assert!(said.lines().any(|line| line == "READY=1"), "{said}");
}

#[test]
fn register_accesses_are_logged_by_name_with_vv() {
    let daemon = Daemon::start(&["--generator", "glibc", "--seed", "1", "-vv"]);
    let mut client = daemon.client();
    client.read_u32(0, 0);
    client.write_u32(0, 4, 0x2a);
    client.assert_in_sync();
    daemon.wait_for_log("RANDOM read 4 -> 0x6b8b4567\n");
    daemon.wait_for_log("SEED write 4 <- 0x2a\n");
}

#[test]
fn register_accesses_are_not_logged_with_v() {
    let daemon = Daemon::start(&["-v"]);
    daemon.client().read_u32(0, 0);
    daemon.wait_for_log("disconnected");
    assert!(!daemon.log().contains("RANDOM"), "{}", daemon.log());
}

#[test]
fn connections_are_logged_with_v() {
    let daemon = Daemon::start(&["-v"]);
    drop(daemon.client());
    for line in ["listening at", "connected", "disconnected"] {
        daemon.wait_for_log(line);
    }
}

#[test]
fn nothing_is_logged_of_a_good_client() {
    let daemon = Daemon::start(&[]);
    daemon.client().read_u32(0, 0);
    daemon.client().assert_in_sync();
    assert_eq!(daemon.log(), "");
}

#[test]
fn memory_that_is_not_shared_is_named_with_v() {
    let daemon = Daemon::start(&["-v"]);
    daemon.client().map(0, 1 << 20, None);
    daemon.wait_for_log("share=on");
}

#[test]
fn memory_that_is_shared_is_not_named() {
    let daemon = Daemon::start(&["-v"]);
    let mut client = daemon.client();
    let file = memory(4096);
    client.request_with(DMA_MAP, &dma_map(0, 4096), &[file.as_fd()]).ok();
    client.map(4096, 4096, None);
    client.request(DMA_MAP, &dma_map_with(1, 0, 8192, 4096)).ok();
    drop(client);
    daemon.wait_for_log("disconnected");
    assert!(!daemon.log().contains("share=on"), "{}", daemon.log());
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    let mut child = Command::new(BINARY).arg("--socket-path").arg(&path).spawn().unwrap();
    wait_until("it listens", || std::os::unix::net::UnixStream::connect(&path).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
}
