//! Sockets that the daemon is started with: --fd, and systemd's socket activation.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::common::*;
use crate::daemon::BINARY;

/// A daemon that was started by a shell, which has given it these descriptors as 0 and 1.
struct Started {
    child: Child,
    folder: TempDir,
}

impl Started {
    fn new(script: &str, input: impl Into<OwnedFd>, output: impl Into<OwnedFd>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("sh")
            .args(["-c", script, BINARY])
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::from(input.into()))
            .stdout(Stdio::from(output.into()))
            .stderr(log)
            .spawn()
            .unwrap();
        Started { child, folder }
    }

    /// The log of a daemon that ends by itself with that status.
    #[track_caller]
    fn ends(mut self, code: i32) -> String {
        let mut status = None;
        wait_until("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert_eq!(status.unwrap().code(), Some(code), "{log}");
        log
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listener(folder: &TempDir, name: &str) -> UnixListener {
    UnixListener::bind(folder.path().join(name)).unwrap()
}

fn serves(path: &Path) {
    Client::negotiated(path).assert_in_sync();
    Client::negotiated(path).assert_in_sync();
}

#[test]
fn a_socket_that_is_given_by_number_is_served_and_its_file_stays() {
    for script in ["exec \"$0\" --fd 0", "exec \"$0\" --fd 3 3<&0 </dev/null"] {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon = Started::new(script, listener(&folder, "s"), dev_null());
        serves(&folder.path().join("s"));
        let daemon_id = rustix::process::Pid::from_child(&daemon.child);
        rustix::process::kill_process(daemon_id, rustix::process::Signal::TERM).unwrap();
        assert!(daemon.child.wait().unwrap().success());
        assert!(folder.path().join("s").exists());
    }
}

#[test]
fn sockets_of_socket_activation_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let script = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a:b exec \"$0\" 3<&0 4<&1 </dev/null";
    let _daemon = Started::new(script, listener(&folder, "a"), listener(&folder, "b"));
    serves(&folder.path().join("a"));
    serves(&folder.path().join("b"));
}

#[test]
fn sockets_that_were_passed_to_another_process_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let script = "LISTEN_PID=1 LISTEN_FDS=1 exec \"$0\" 3<&0 </dev/null";
    let log = Started::new(script, listener(&folder, "s"), dev_null()).ends(1);
    assert!(log.contains("LISTEN_FDS"), "{log}");
}

#[test]
fn variables_that_do_not_fit_are_refused() {
    for variables in ["LISTEN_PID=me LISTEN_FDS=1", "LISTEN_PID=$$ LISTEN_FDS=many"] {
        let script = format!("{variables} exec \"$0\"");
        let log = Started::new(&script, dev_null(), dev_null()).ends(1);
        assert!(log.contains("do not tell which sockets were passed"), "{log}");
    }
}

#[test]
fn what_cannot_be_listened_on_is_refused_by_its_number_and_what_it_is() {
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    let (connected, _other) = UnixStream::pair().unwrap();
    let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let kinds: [(OwnedFd, &str); 4] = [
        (dev_null(), "/dev/null"),
        (datagram.into(), "a datagram socket"),
        (connected.into(), "a stream socket that does not listen"),
        (tcp.into(), "a socket of another family"),
    ];
    for (descriptor, what) in kinds {
        let copy = || descriptor.try_clone().unwrap();
        let log = Started::new("exec \"$0\" --fd 0", copy(), dev_null()).ends(1);
        assert!(log.contains(&format!("--fd 0 is {what}")), "{log}");
        let passed = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" 3<&0";
        let log = Started::new(passed, copy(), dev_null()).ends(1);
        assert!(log.contains(&format!("LISTEN_FDS 3 is {what}")), "{log}");
    }
}

#[test]
fn numbers_that_are_not_open_or_have_two_uses_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for number in ["3", "4", "5", "6", "77"] {
        let script = format!("exec \"$0\" --fd {number} 3<&- 4<&- 5<&- 6<&-");
        let log = Started::new(&script, dev_null(), dev_null()).ends(1);
        assert!(log.contains(&format!("--fd {number}: no such open")), "{log}");
    }
    let twice = "exec \"$0\" --fd 3 --ready-fd 3 3<&0";
    let log = Started::new(twice, listener(&folder, "a"), dev_null()).ends(1);
    assert!(log.contains("descriptor 3 has two uses"), "{log}");
    let two = "exec \"$0\" --fd 0 --socket-path \"$0.never\"";
    Started::new(two, listener(&folder, "b"), dev_null()).ends(2);
}

#[test]
fn services_write_no_core_dumps_of_guests_memory() {
    let units = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd");
    let services = std::fs::read_dir(units).unwrap().map(|unit| unit.unwrap().path());
    let services: Vec<_> =
        services.filter(|unit| unit.extension().is_some_and(|kind| kind == "service")).collect();
    assert_eq!(services.len(), 2);
    for unit in services {
        let text = std::fs::read_to_string(&unit).unwrap();
        assert!(text.lines().any(|line| line == "LimitCORE=0"), "{}", unit.display());
    }
}
