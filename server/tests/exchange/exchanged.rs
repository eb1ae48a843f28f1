//! A daemon that is exchanged: its process is another one each time.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::common::{Client, wait_until};
use crate::daemon::{BINARY, Daemon};

/// A daemon with a control socket, and the process that serves at present.
pub struct Exchanged {
    daemon: Daemon,
    process: u32,
}

impl Exchanged {
    /// Starts the first one.
    pub fn start(options: &[&str]) -> Self {
        let daemon = Daemon::start(&[options, &["-v", "--control-socket", "control"]].concat());
        Exchanged { process: daemon.pid(), daemon }
    }

    /// Starts one that serves what the file of this text says.
    pub fn configured(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = text.replace("FOLDER", &folder.path().display().to_string());
        let file = folder.path().join("guests.toml");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(BINARY);
        command.arg("-v").arg("--config").arg(file);
        let daemon = Daemon::launch(&mut command, folder);
        Exchanged { process: daemon.pid(), daemon }
    }

    /// Starts one that serves at the socket `s`, which this process has bound and passes.
    pub fn passed() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let mapping = FdMapping { parent_fd: listener.into(), child_fd: 3 };
        let mut command = Command::new(BINARY);
        command.args(["--fd", "3", "--control-socket", "control"]);
        command.args(["--generator", "glibc", "--seed", "1"]);
        command.fd_mappings(vec![mapping]).unwrap();
        let daemon = Daemon::launch(&mut command, folder);
        Exchanged { process: daemon.pid(), daemon }
    }

    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    pub fn client(&self) -> Client {
        self.daemon.client()
    }

    /// The present process.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// `my-rng-server exchange` with these options.
    pub fn ask(&self, options: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command.args(["exchange", "--control-socket"]).arg(self.daemon.file("control"));
        command.args(options).output().unwrap()
    }

    /// Exchanges it.
    #[track_caller]
    pub fn exchange(&mut self) {
        let output = self.ask(&[]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = said.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        assert!(output.status.success(), "{output:?}\n{}", self.daemon.log());
        let before =
            std::mem::replace(&mut self.process, number.unwrap_or_else(|| panic!("{said}")));
        wait_until("the old process ends", || !runs(before));
    }

    /// Open descriptors of the present process.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process)).unwrap().count()
    }

    /// Memory of the present process in KiB that no other process shares.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Ends the present process as an administrator does.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(self.process as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        wait_until("the process ends", || !runs(self.process));
    }
}

/// Whether a process runs: one that has ended and was not waited for yet does not.
fn runs(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

impl Drop for Exchanged {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.process as i32) {
            if self.process != self.daemon.pid() && test_kill_process(pid).is_ok() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
