//! Sockets that another process has bound: systemd's socket activation, and `--fd`.

use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use tempfile::TempDir;

use crate::common::*;
use crate::daemon::{BINARY, Daemon};

/// Passes sockets to a program from descriptor 3 on, as systemd does it. No program that another
/// test starts meanwhile inherits them.
fn pass(command: &mut Command, sockets: &[PathBuf]) {
    let listeners = sockets.iter().map(|path| UnixListener::bind(path).unwrap());
    let mappings = listeners
        .zip(3..)
        .map(|(listener, child_fd)| FdMapping { parent_fd: listener.into(), child_fd });
    command.fd_mappings(mappings.collect()).unwrap();
}

/// Starts the daemon with sockets.
fn activated(folder: TempDir, sockets: &[&str], names: &str, options: &[&str]) -> Daemon {
    let count = sockets.len();
    let script = format!(
        "export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names}; exec {BINARY} \"$@\""
    );
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).arg("bash").args(options);
    let paths: Vec<_> = sockets.iter().map(|name| folder.path().join(name)).collect();
    pass(&mut command, &paths);
    Daemon::launch(&mut command, folder)
}

#[test]
fn each_socket_that_is_passed_gets_a_device() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--generator", "glibc", "--seed", "1"];
    let daemon = activated(folder, &["web", "mail"], "x:x", &options);
    for name in ["web", "mail"] {
        let mut client = Client::negotiated(&daemon.file(name));
        assert_eq!(client.read_u32(0, 0), 1_804_289_383, "{name}");
    }
}

#[test]
fn a_socket_that_is_passed_is_that_of_the_guest_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let guest = |name: &str, seed: u32| {
        let socket = folder.path().join(name);
        format!(
            "[[guest]]\nname = \"{name}\"\nsocket = {socket:?}\ngenerator = \"glibc\"\n\
             seed = {seed}\n"
        )
    };
    let text = [guest("bound", 1), guest("passed", 1)].concat();
    std::fs::write(folder.path().join("c.toml"), text).unwrap();
    let mut daemon = activated(folder, &["passed"], "x", &["--config", "c.toml"]);
    for name in ["bound", "passed"] {
        let mut client = Client::negotiated(&daemon.file(name));
        assert_eq!(client.read_u32(0, 0), 1_804_289_383, "{name}");
    }
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait();
    assert!(!daemon.file("bound").exists());
    assert!(daemon.file("passed").exists(), "it is systemd's");
}

#[test]
fn a_socket_without_a_guest_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    std::fs::write(&config, "[[guest]]\nname = \"a\"\nsocket = \"a\"\n").unwrap();
    let script = format!("LISTEN_PID=$$ LISTEN_FDS=1 exec {BINARY} --config {}", config.display());
    let mut command = Command::new("bash");
    pass(&mut command, &[folder.path().join("lonely")]);
    let output = command.arg("-c").arg(script).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("lonely, which is not the socket of any guest"), "{said}");
}

#[test]
fn a_guest_whose_socket_was_passed_survives_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("passed");
    let text = format!("[[guest]]\nname = \"g\"\nsocket = {socket:?}\n");
    std::fs::write(folder.path().join("c.toml"), &text).unwrap();
    let daemon = activated(folder, &["passed"], "x", &["--config", "c.toml"]);
    let mut client = Client::negotiated(&socket);
    std::fs::write(daemon.file("c.toml"), text + "seed = 5\ndisconnect = true\n").unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_log("0 guests go on, 1 stopped, 1 started, 0 failed");
    client.assert_closed();
    Client::negotiated(&socket).assert_in_sync();
}

#[test]
fn a_socket_that_was_passed_for_a_guest_that_is_gone_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let guest = |name: &str| {
        let socket = folder.path().join(name);
        format!("[[guest]]\nname = \"{name}\"\nsocket = {socket:?}\n")
    };
    let (stays, goes) = (guest("stays"), guest("goes"));
    std::fs::write(folder.path().join("c.toml"), [stays.as_str(), &goes].concat()).unwrap();
    let daemon = activated(folder, &["stays", "goes"], "x:x", &["--config", "c.toml"]);
    Client::negotiated(&daemon.file("goes")).assert_in_sync();
    std::fs::write(daemon.file("c.toml"), stays).unwrap();
    // Again, if the daemon has not seen yet that the client has gone.
    wait_until("the guest is removed", || {
        daemon.signal(rustix::process::Signal::HUP);
        std::thread::sleep(std::time::Duration::from_millis(50));
        daemon.log().contains("1 guests go on, 1 stopped, 0 started, 0 failed")
    });
    // The session that used it can take a moment longer.
    wait_until("the socket is closed", || {
        UnixStream::connect(daemon.file("goes"))
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    Client::negotiated(&daemon.file("stays")).assert_in_sync();
}
