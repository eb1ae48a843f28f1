//! Ends a process that is not the lab's child when the lab ends, however that happens.
//!
//! The kernel does it for a child (`setpriv --pdeathsig`). A process that has taken another one's
//! place is a child of that one, and outlives it. So a shell waits for the end of a pipe that the lab
//! holds open, and then kills the process.

use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::Pid;

use crate::files;

/// `$1` is the process, `$2` when it was started: another one may have got its number since. Signals of
/// the terminal are for the lab.
const SCRIPT: &str = "trap '' INT TERM HUP
    read -r _
    started=$(sed 's/.*) //' \"/proc/$1/stat\" 2>/dev/null | cut -d ' ' -f 20)
    test \"$started\" != \"$2\" || kill -KILL \"$1\"";

/// The shell. It ends, and the process with it, when the value goes.
#[derive(Debug)]
pub(super) struct Guard {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Ends that process with the lab.
    ///
    /// # Errors
    /// The process does not run, or there is no shell.
    pub fn of(pid: Pid) -> Result<Self> {
        let stat = format!("/proc/{pid}/stat");
        let text = files::read_text(&stat)?;
        let rest = text.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
        let started = rest.split(' ').nth(19).with_context(|| format!("{stat} is too short"))?;
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh", &pid.to_string(), started])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sh")?;
        let pipe = shell.stdin.take();
        Ok(Guard { shell, pipe })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It has killed the process when it ends.
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A process that is no child of this one, as after an exchange.
    fn orphan() -> Pid {
        let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
        let output = Command::new("sh").args(["-c", script]).output().expect("sh runs");
        let number = String::from_utf8_lossy(&output.stdout).trim().parse();
        Pid::from_raw(number.expect("a number")).expect("not 0")
    }

    fn runs(pid: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    fn wait_for_the_end_of(pid: Pid) {
        let begun = Instant::now();
        while runs(pid) {
            assert!(begun.elapsed() < Duration::from_secs(20), "process {pid} runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn the_process_ends_when_the_pipe_does_as_it_does_with_a_lab_that_is_killed() {
        let pid = orphan();
        let mut guard = Guard::of(pid).expect("it runs");
        assert!(runs(pid));
        drop(guard.pipe.take());
        wait_for_the_end_of(pid);
    }

    #[test]
    fn the_process_ends_with_its_guard() {
        let pid = orphan();
        drop(Guard::of(pid).expect("it runs"));
        wait_for_the_end_of(pid);
    }

    #[test]
    fn a_process_that_has_ended_has_no_guard() {
        let mut ended = Command::new("true").spawn().expect("true runs");
        ended.wait().expect("it ends");
        assert!(Guard::of(Pid::from_child(&ended)).is_err());
    }
}
