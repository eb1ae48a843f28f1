//! Killing a server that a keeper has started: the keeper starts it again under the guest.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::{Server, WAIT_TIMEOUT};
use crate::{files, process};

impl Server<'_> {
    /// Kills the process that the keeper has started (`--keeper`), and waits until it has started
    /// another one. Returns the one that was killed.
    pub fn crash(&self) -> Result<u32> {
        let killed = self.kept()?.context("the keeper has started no process")?;
        kill_process(killed, Signal::KILL).context("cannot kill the server")?;
        let next = || Ok(self.kept()?.filter(|process| *process != killed));
        process::wait_for(WAIT_TIMEOUT, next)?.with_context(|| {
            format!("the keeper does not start the server within {} s", WAIT_TIMEOUT.as_secs())
        })?;
        Ok(killed.as_raw_nonzero().get().unsigned_abs())
    }

    /// The process that the keeper has started.
    fn kept(&self) -> Result<Option<Pid>> {
        let keeper = self.pid();
        let path = format!("/proc/{keeper}/task/{keeper}/children");
        let children = files::read_text(&path)?;
        let child = children.split_whitespace().next().map(str::parse).transpose();
        Ok(child.with_context(|| format!("{path} says {children:?}"))?.and_then(Pid::from_raw))
    }
}
