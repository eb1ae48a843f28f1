//! A running my-rng-server.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::{Client, wait_readable, wait_until};

pub const BINARY: &str = env!("CARGO_BIN_EXE_my-rng-server");

/// A daemon with a folder of its own. It ends when the value goes.
pub struct Daemon {
    pub folder: TempDir,
    child: Child,
}

impl Daemon {
    /// The numbers of the C library for seed 1.
    pub fn glibc() -> Self {
        Daemon::start(&["--generator", "glibc", "--seed", "1"])
    }

    /// Starts it and waits until it listens.
    pub fn start(options: &[&str]) -> Self {
        Daemon::start_under(&mut Command::new(BINARY), options)
    }

    /// The same for a command that runs it in the end.
    pub fn start_under(command: &mut Command, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        command.arg("--socket-path").arg(folder.path().join("s")).args(options);
        Daemon::launch(command, folder)
    }

    /// Starts a command in its folder and waits until it listens.
    pub fn launch(command: &mut Command, folder: TempDir) -> Self {
        let log = fs::File::options().append(true).create(true).open(folder.path().join("log"));
        command.args(["--ready-fd", "1"]).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.unwrap());
        let mut child = command.spawn().unwrap();
        let mut announced = [0];
        let mut ready = child.stdout.take().unwrap();
        let daemon = Daemon { folder, child };
        wait_readable(&ready, "the daemon to listen or to end");
        let bytes = ready.read(&mut announced).unwrap();
        assert_eq!(&announced[..bytes], b"\n", "{}", daemon.log());
        daemon
    }

    pub fn path(&self) -> PathBuf {
        self.file("s")
    }

    /// A path in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client that has agreed on a version.
    pub fn client(&self) -> Client {
        Client::negotiated(&self.path())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("the log says {text:?}"), || self.log().contains(text));
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Number of open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Number of maps of files called "guest", as tests call theirs.
    pub fn guest_maps(&self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid())).unwrap();
        maps.lines().filter(|line| line.contains("memfd:guest")).count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten().and_then(|status| status.signal());
        if ended == Some(Signal::SYS.as_raw()) {
            let says =
                "the sandbox has ended the daemon: the kernel's log (type=1326) has the call";
            if thread::panicking() {
                eprintln!("{says}");
            } else {
                panic!("{says}");
            }
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
