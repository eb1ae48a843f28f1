//! A daemon that its keeper starts again.

use std::cell::Cell;

use rustix::process::Pid;

use crate::common::{Client, child_of, kill_child_of, wait_until};
use crate::daemon::Daemon;

/// A daemon with a keeper.
pub struct Kept {
    daemon: Daemon,
    /// The process that was killed last.
    killed: Cell<Option<Pid>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.daemon.log());
        }
    }
}

impl Kept {
    /// Starts both.
    pub fn start(options: &[&str]) -> Self {
        Kept::of(Daemon::start(&[options, &["-v", "--keeper"]].concat()))
    }

    /// One that was started with `--keeper`.
    pub fn of(daemon: Daemon) -> Self {
        Kept { daemon, killed: Cell::default() }
    }

    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    pub fn client(&self) -> Client {
        self.daemon.client()
    }

    /// The process that serves.
    pub fn process(&self) -> u32 {
        let child = child_of(self.daemon.pid()).expect("it serves");
        child.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills the process that serves, as the kernel does when memory runs out.
    pub fn kill(&self) {
        self.killed.set(Some(kill_child_of(self.daemon.pid(), self.killed.get())));
    }

    /// How often the keeper has started the process again.
    pub fn restarts(&self) -> usize {
        self.daemon.log().matches("this process goes on with").count()
    }

    /// Kills it, and waits until another one serves.
    #[track_caller]
    pub fn crash(&self) {
        let before = self.restarts();
        self.kill();
        wait_until("another process serves", || self.restarts() > before);
    }
}
