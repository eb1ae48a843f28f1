//! Exchanging a running server: another process takes its place under the guest.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::guard::Guard;
use super::{Server, WAIT_TIMEOUT};
use crate::process::{self, status};

/// The process that has taken a server's place. It is killed when the value goes, or the lab ends.
#[derive(Debug)]
pub struct Successor {
    /// Its process.
    pub process: Pid,
    #[expect(dead_code, reason = "ends the process when the lab is killed")]
    guard: Guard,
}

impl Successor {
    fn new(process: Pid) -> Result<Self> {
        let guard = Guard::of(process).context("the new server has ended")?;
        Ok(Self { process, guard })
    }

    /// Whether it runs. A process that has ended and was not waited for does not.
    pub fn runs(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process));
        let status = status.unwrap_or_default();
        status::word(&status, "State:").is_some_and(|state| state != "Z")
    }

    /// Sends it a signal, and waits for its end.
    pub fn end(&self, signal: Signal) -> Result<()> {
        kill_process(self.process, signal).context("cannot signal the server")?;
        process::wait_for(WAIT_TIMEOUT, || Ok((!self.runs()).then_some(())))?
            .with_context(|| format!("the server still runs after {} s", WAIT_TIMEOUT.as_secs()))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if self.runs() {
            // Already gone is as good as killed.
            let _ = kill_process(self.process, Signal::KILL);
        }
    }
}

impl Server<'_> {
    /// Has the program start its file anew, and waits until that process has taken its place. The
    /// guest runs on.
    ///
    /// # Errors
    /// The old process goes on, and why.
    pub fn exchange(&mut self) -> Result<()> {
        let seen = self.log().len();
        kill_process(self.process(), Signal::USR2).context("cannot signal the server")?;
        let next = process::wait_for(WAIT_TIMEOUT, || {
            // Asked first: what it says before its end is in the log then.
            let runs = self.running()?;
            let log = self.log().get(seen..).unwrap_or_default().to_owned();
            if let Some((_, reason)) = log.split_once("this process goes on: ") {
                // The other one has ended before that line.
                self.refused = seen + log.len();
                bail!("{}", reason.lines().next().unwrap_or_default());
            }
            // Other lines name the client's process.
            let number = log.lines().find_map(|line| {
                line.split_once(" goes on with ")?.0.rsplit(' ').next()?.parse().ok()
            });
            let next = number.and_then(Pid::from_raw);
            ensure!(runs || next.is_some(), "the server has ended");
            Ok(next)
        })?;
        let next = next.with_context(|| {
            format!("the server does not say what came of it within {} s", WAIT_TIMEOUT.as_secs())
        })?;
        // The old one ends by itself.
        process::wait_for(WAIT_TIMEOUT, || Ok((!self.running()?).then_some(())))?;
        // The one before has handed everything over by now.
        self.successor = Some(Successor::new(next)?);
        Ok(())
    }
}
