//! A device's program while it runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::{Client, kill_child_of};

/// How long anything may take. The report of a crash takes long on a machine that does much else.
const TIMEOUT: Duration = Duration::from_secs(180);

/// A program that serves a device.
pub struct Program {
    child: Child,
    /// The process that has taken its place.
    successor: Option<Pid>,
    /// The one of a keeper that was killed last.
    killed: Option<Pid>,
    folder: TempDir,
}

impl Program {
    /// Starts it.
    pub fn start(program: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .arg("--socket-path")
            .arg(folder.path().join("socket"))
            .args(arguments)
            .stderr(log)
            .spawn()
            .unwrap();
        Program { child, successor: None, killed: None, folder }
    }

    /// Starts it and waits for its socket.
    pub fn serve(program: &Path, arguments: &[&str]) -> Self {
        let mut program = Self::start(program, arguments);
        program.wait_for_socket();
        program
    }

    fn wait_for_socket(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.log());
            assert!(Instant::now() < deadline, "no socket: {}", self.log());
            sleep(Duration::from_millis(5));
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub fn client(&self) -> Client {
        Client::negotiated(&self.socket())
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub fn wait_for_log(&self, wanted: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.log().contains(wanted) {
            assert!(Instant::now() < deadline, "not said: {wanted}\n{}", self.log());
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            sleep(Duration::from_millis(5));
        }
    }

    /// Tells it to end, and waits.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.successor.unwrap_or_else(|| Pid::from_child(&self.child));
        kill_process(pid, signal).unwrap();
    }

    /// Lets another process of the same file take its place.
    #[track_caller]
    pub fn exchange(&mut self) {
        let seen = self.log().len();
        self.signal(Signal::USR2);
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let said = self.log().split_off(seen);
            let next = said.lines().find_map(|line| {
                line.split_once(" goes on with ")?.0.rsplit(' ').next()?.parse().ok()
            });
            if let Some(next) = next.and_then(Pid::from_raw) {
                self.successor = Some(next);
                return;
            }
            assert!(!said.contains("this process goes on: "), "{said}");
            assert!(Instant::now() < deadline, "no exchange: {said}");
            sleep(Duration::from_millis(5));
        }
    }

    /// Kills the process that its keeper has started.
    pub fn kill(&mut self) {
        self.killed = Some(kill_child_of(self.child.id(), self.killed));
    }

    /// Asks for an exchange that fails, and returns why.
    #[track_caller]
    pub fn refused_exchange(&self) -> String {
        const WHY: &str = "this process goes on: ";
        let seen = self.log().matches(WHY).count();
        self.signal(Signal::USR2);
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let log = self.log();
            assert!(!log.contains(" goes on with "), "it is exchanged: {log}");
            if let Some(why) = log.split(WHY).skip(1).nth(seen).filter(|why| why.contains('\n')) {
                return why.lines().next().unwrap_or_default().to_owned();
            }
            assert!(Instant::now() < deadline, "no answer: {log}");
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // They may have ended.
        if let Some(successor) = self.successor {
            let _ = kill_process(successor, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
