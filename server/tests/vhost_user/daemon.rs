//! The daemon's program with `--transport vhost-user`.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::server::wait_until;
use crate::vmm::Vmm;

const BINARY: &str = env!("CARGO_BIN_EXE_my-rng-server");

/// A daemon in a folder of its own.
pub struct Daemon {
    folder: TempDir,
    child: Child,
}

impl Daemon {
    /// Starts it with these options, and waits until there is a socket of that name.
    pub fn start(options: &[&str], socket: &str) -> Self {
        Daemon::start_in(tempfile::tempdir().unwrap(), options, socket)
    }

    fn start_in(folder: TempDir, options: &[&str], socket: &str) -> Self {
        let options = [&["--transport", "vhost-user"], options].concat();
        Daemon::start_with(folder, &options, socket)
    }

    fn start_with(folder: TempDir, options: &[&str], socket: &str) -> Self {
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(BINARY);
        command.args(options).current_dir(folder.path());
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let daemon = Daemon { folder, child };
        wait_until("it listens", || UnixStream::connect(daemon.path(socket)).is_ok());
        daemon
    }

    pub fn path(&self, socket: &str) -> PathBuf {
        self.folder.path().join(socket)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let mut status = None;
        wait_until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(options: &[&str]) -> Output {
    Command::new(BINARY).args(options).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_socket_is_for_its_owner_and_is_removed_with_a_vmm_connected() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start(&["-s", "rng.sock"], "rng.sock");
        let path = daemon.path("rng.sock");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let mut vmm = Vmm::start(&path, &[]);
        assert_eq!(vmm.get(64).len(), 64);
        assert!(daemon.stop(signal).success(), "{}", daemon.log());
        assert!(!path.exists());
        assert!(vmm.frontend_is_closed());
    }
}

#[test]
fn a_stale_socket_is_replaced_and_another_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(folder.path().join("rng.sock")).unwrap());
    let daemon = Daemon::start_in(folder, &["-s", "rng.sock"], "rng.sock");
    let path = daemon.path("rng.sock");
    assert_eq!(Vmm::start(&path, &[]).get(64).len(), 64);
    let second = run(&["--transport", "vhost-user", "-s", path.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("is in use by a running process"));
    let log = daemon.path("log");
    let third = run(&["--transport", "vhost-user", "-s", log.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&third.stderr).contains("is not a socket"));
    assert_eq!(Vmm::start(&path, &[]).get(64).len(), 64, "the first goes on");
}

#[test]
fn the_command_line_of_vhost_device_rng_does_the_same() {
    // That of its README, and its other options.
    let daemon = Daemon::start(
        &["--socket-path=rng.sock", "-c", "1", "-m", "512", "-p", "1000"],
        "rng.sock0",
    );
    assert!(!daemon.path("rng.sock").exists());
    let mut vmm = Vmm::start(&daemon.path("rng.sock0"), &[]);
    assert_eq!(vmm.get(400).len(), 400);
    assert_eq!(vmm.get(400).len(), 112);
    vmm.ask(400);
    vmm.assert_waits();

    let words = ["-s", "r", "--socket-count", "2", "--max-bytes", "100", "--period", "60000"];
    for source in
        [&["-f", "/dev/zero"], &["--rng-source", "/dev/zero"], &["--filename", "/dev/zero"]]
    {
        let daemon = Daemon::start(&[&words[..], source].concat(), "r1");
        for socket in ["r0", "r1"] {
            let mut vmm = Vmm::start(&daemon.path(socket), &[]);
            assert_eq!(vmm.get(80), [0; 50], "the bytes are shared out");
        }
    }
}

/// How many monitors come and go.
const MANY: usize = 50;

#[test]
fn vmms_that_connect_and_disconnect_leave_nothing_behind() {
    let daemon = Daemon::start(&["-s", "rng.sock"], "rng.sock");
    let serve = || {
        let mut vmm = Vmm::start(&daemon.path("rng.sock"), &[]);
        assert_eq!(vmm.get(64).len(), 64);
        daemon.descriptors()
    };
    let connected = serve();
    println!("{connected} descriptors with a monitor");
    for _ in 0..MANY {
        serve();
    }
    // One that each leaves behind is more than a connection takes. How many there are between two
    // connections depends on when the end of the last one is seen.
    assert!(connected < MANY);
    wait_until("no descriptor is left", || daemon.descriptors() <= connected);
}

#[test]
fn a_vmm_that_truncates_its_memory_does_not_end_the_others() {
    let daemon = Daemon::start(&["-s", "r", "-c", "2"], "r1");
    let mut good = Vmm::start(&daemon.path("r0"), &[]);
    let mut bad = Vmm::start(&daemon.path("r1"), &[]);
    assert_eq!(bad.get(64).len(), 64);
    rustix::fs::ftruncate(&bad.memory, 0).unwrap();
    bad.kick();
    wait_until("it is seen", || daemon.log().contains("r1: guest memory was truncated"));
    assert_eq!(good.get(64).len(), 64);
}

#[test]
fn options_of_the_vmm_and_other_devices_are_rejected() {
    let socket = ["--transport", "vhost-user", "-s", "/nonexistent/s"];
    for (options, reason) in [
        (&["--packed"][..], "--packed: with vhost-user, the VMM decides this"),
        (&["--virtio", "transitional"], "--virtio: with vhost-user, the VMM decides this"),
        (&["--vectors", "0"], "--vectors: with vhost-user, the VMM decides this"),
        (&["--busy-poll-us", "5"], "--busy-poll-us"),
        (&["--device", "my-rng"], "vhost-user has only virtio-rng, not my-rng"),
        (&["--seed", "1"], "--seed is an option of --device my-rng"),
    ] {
        let output = run(&[&socket[..], options].concat());
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(reason), "{options:?}: {said}");
    }
}

#[test]
fn its_capabilities_are_json_whatever_else_is_asked_for() {
    for options in [&["--print-capabilities"][..], &["--print-capabilities", "-s", "/x", "-c", "2"]]
    {
        let output = run(options);
        assert!(output.status.success());
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said, serde_json::json!({"type": "rng", "features": []}));
    }
}

#[test]
fn a_socket_that_listens_may_be_passed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" --transport vhost-user --fd 0", BINARY]);
    let mut child = shell.stdin(std::os::fd::OwnedFd::from(listener)).spawn().unwrap();
    assert_eq!(Vmm::start(&path, &[]).get(64).len(), 64);
    assert_eq!(Vmm::start(&path, &[]).get(64).len(), 64, "the next one");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(Path::exists(&path), "its maker's");
}

#[test]
fn a_reload_stops_the_guests_that_are_gone_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guests.toml");
    let write = |names: &[&str]| {
        let guest = |name: &&str| {
            let socket = folder.path().join(name);
            let socket = socket.display();
            format!(
                "[[guest]]\nname = {name:?}\nsocket = \"{socket}\"\ntransport = \"vhost-user\"\n\
                 disconnect = true\n"
            )
        };
        std::fs::write(&file, names.iter().map(guest).collect::<String>()).unwrap();
    };
    write(&["a", "b"]);
    let other = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // An absolute path stays what it is.
    let second = path("b").display().to_string();
    let daemon = Daemon::start_with(other, &["--config", file.to_str().unwrap()], &second);
    let mut kept = Vmm::start(&path("a"), &[]);
    let gone = Vmm::start(&path("b"), &[]);
    write(&["a", "c"]);
    daemon.signal(Signal::HUP);
    wait_until("the new one listens", || UnixStream::connect(path("c")).is_ok());
    assert!(!path("b").exists());
    assert!(gone.frontend_is_closed());
    assert_eq!(kept.get(64).len(), 64, "its connection goes on");
    assert_eq!(Vmm::start(&path("c"), &[]).get(64).len(), 64);
}

#[test]
fn the_log_calls_a_guest_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("guests.toml"), folder.path().join("socket"));
    let path = socket.display().to_string();
    let text =
        format!("[[guest]]\nname = \"web1\"\nsocket = \"{path}\"\ntransport = \"vhost-user\"\n");
    std::fs::write(&file, text).unwrap();
    let other = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(other, &["--config", file.to_str().unwrap()], &path);
    let _first = Vmm::start(&socket, &[]);
    drop(UnixStream::connect(&socket).unwrap());
    let line = "web1: rejected a VMM: another one is connected";
    wait_until(line, || daemon.log().contains(line));
}

#[test]
fn a_limit_and_a_source_change_under_a_connected_vmm() {
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("guests.toml"), folder.path().join("a"));
    let write = |keys: &str| {
        let socket = socket.display();
        let text = format!(
            "[[guest]]\nname = \"a\"\nsocket = \"{socket}\"\ntransport = \"vhost-user\"\n{keys}\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    write("source = \"file:/dev/zero\"\nmax-bytes = 3\nperiod = 3600000");
    let path = socket.display().to_string();
    let other = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(other, &["--config", file.to_str().unwrap()], &path);
    let mut vmm = Vmm::start(&socket, &[]);
    assert_eq!(vmm.get(8), [0; 3]);
    vmm.ask(8);
    vmm.assert_waits();
    write("source = \"chacha20:0\"\nmax-bytes = 5\nperiod = 3600000");
    daemon.signal(Signal::HUP);
    assert_eq!(vmm.answer().1, 2, "what was taken before counts");
    write("source = \"chacha20:0\"");
    daemon.signal(Signal::HUP);
    assert_eq!(vmm.get(8).len(), 8);
}
