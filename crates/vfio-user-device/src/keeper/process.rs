//! The keeper: a process that starts the one which serves, and starts it anew when it crashes.
//!
//! It has one thread, opens nothing and does nothing but to wait for signals and for the end of its
//! child. Each child is a copy of it, made by clone(2) with CLONE_FILES: it has the keeper's table of
//! descriptors, and needs no time to start.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, exit};
use std::ptr;
use std::sync::atomic::AtomicI32;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal as Heard};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_parent_process_death_signal,
    waitpid,
};

use super::directory::Directory;
use super::left::foreign_descriptors;
use super::recovery::Crash;
use crate::signal_action::Action;

/// So many processes in a row that end before they serve, and the keeper gives up.
const MAX_FAILURES: u32 = 20;
/// So many are started again at once; before the others, the keeper waits longer and longer.
const MAX_AT_ONCE: u32 = 5;
/// The longest of these waits: QEMU gives a device up after 5 s.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The exit status of a Rust program whose main thread has panicked.
const PANICKED: i32 = 101;

/// Signals that the keeper hands on to its child.
const FORWARDED: [Heard; 4] = [Heard::SIGTERM, Heard::SIGINT, Heard::SIGHUP, Heard::SIGUSR2];

/// Makes this process a keeper. Returns in each process that is to serve, with how the one before it has
/// ended; in the keeper it does not return.
///
/// # Errors
/// The process has other threads, or the system has no more of something.
pub(crate) fn start() -> io::Result<(&'static Directory, Option<Crash>)> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a keeper is started before any thread"));
    }
    let foreign = foreign_descriptors()?;
    let directory = Directory::install()?;
    // Waited for, and never delivered. What asks for an exchange looks whether there is a handler.
    Action::Interrupt.set(libc::SIGUSR2)?;
    let signals = Signals::block()?;
    let (mut crash, mut failures) = (None, 0);
    loop {
        directory.set_ready(false);
        let keeper = getpid();
        let Some(child) = clone_with_descriptors()? else {
            signals.unblock()?;
            become_child_of(keeper)?;
            return Ok((directory, crash));
        };
        let status = signals.wait(child)?;
        let Some(reason) = crashed(status).filter(|_| !directory.is_finished()) else {
            exit(exit_status(status));
        };
        failures = if directory.is_ready() { 0 } else { failures + 1 };
        if failures >= MAX_FAILURES {
            log::error!("process {child} {reason}; {failures} processes in a row have not served");
            exit(1);
        }
        log::error!("process {child} {reason}; the keeper starts it again");
        if let Some(more) = failures.checked_sub(MAX_AT_ONCE) {
            std::thread::sleep(Duration::from_millis(10 << more.min(7)).min(MAX_PAUSE));
        }
        let reason = format!("process {child} {reason}");
        crash = Some(Crash { reason, at: Instant::now(), foreign: foreign.clone() });
    }
}

/// How a process has ended, if it was not by its own will or by that of an administrator.
fn crashed(status: ExitStatus) -> Option<String> {
    if let Some(signal) = status.signal() {
        let told = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP].contains(&signal);
        return (!told).then(|| format!("was killed by signal {signal}"));
    }
    let status = status.code()?;
    (status == PANICKED).then(|| format!("ended with status {status}"))
}

/// The exit status that says of the keeper what another one says of its child.
fn exit_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or(128 + status.signal().unwrap_or(0))
}

/// The rest of a new child's start.
fn become_child_of(keeper: Pid) -> io::Result<()> {
    // It ends in order when there is nothing to keep it.
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid() != Some(keeper) {
        return Err(io::Error::other("the keeper has ended"));
    }
    Ok(())
}

/// A copy of this process that shares its table of descriptors. `None` in the copy.
fn clone_with_descriptors() -> io::Result<Option<Pid>> {
    let (flags, none): (_, libc::c_long) = (libc::CLONE_FILES | libc::SIGCHLD, 0);
    // SAFETY: prctl(2) writes a pointer to the local. Where the kernel does not know, it stays null.
    // Without CLONE_VM, clone(2) is fork(2): the copy has memory of its own and goes on here. The process
    // has one thread, so that no lock is held by another one. The order of the last two arguments is the
    // architecture's.
    let result = unsafe {
        // The C library has the thread's number there. A copy has another one.
        let mut place: *mut AtomicI32 = ptr::null_mut();
        let known = libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut place) == 0 && !place.is_null();
        let number = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
        let flags = libc::c_long::from(flags | if known { number } else { 0 });
        let child = place as libc::c_long;
        if cfg!(any(target_arch = "x86_64", target_arch = "m68k")) {
            libc::syscall(libc::SYS_clone, flags, none, none, child, none)
        } else {
            libc::syscall(libc::SYS_clone, flags, none, none, none, child)
        }
    };
    match i32::try_from(result) {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The signals that the keeper waits for, which are blocked otherwise.
struct Signals {
    set: SigSet,
    before: SigSet,
}

impl Signals {
    fn block() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignores_hang_up = crate::cli::ignores_hang_up(&status);
        let heard =
            FORWARDED.into_iter().filter(|signal| *signal != Heard::SIGHUP || !ignores_hang_up);
        let set: SigSet = heard.chain([Heard::SIGCHLD]).collect();
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Signals { set, before })
    }

    /// What the process had blocked before.
    fn unblock(&self) -> io::Result<()> {
        Ok(self.before.thread_set_mask()?)
    }

    /// Hands signals on until the child has ended.
    fn wait(&self, child: Pid) -> io::Result<ExitStatus> {
        loop {
            if let Some((_, status)) = waitpid(Some(child), WaitOptions::NOHANG)? {
                return Ok(ExitStatus::from_raw(status.as_raw()));
            }
            let heard = self.set.wait()?;
            if FORWARDED.contains(&heard) {
                if let Some(signal) = Signal::from_named_raw(heard as i32) {
                    // It may have ended.
                    let _ = kill_process(child, signal);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn status_of(script: &str) -> ExitStatus {
        Command::new("sh").args(["-c", script]).status().unwrap()
    }

    #[test]
    fn only_an_end_without_a_request_is_a_crash() {
        let crashes = |script| crashed(status_of(script)).is_some();
        assert!(crashes("kill -KILL $$") && crashes("kill -SEGV $$") && crashes("exit 101"));
        assert!(!crashes("exit 0") && !crashes("exit 1") && !crashes("kill -TERM $$"));
    }

    #[test]
    fn the_exit_status_is_the_childs() {
        assert_eq!(exit_status(status_of("exit 3")), 3);
        assert_eq!(exit_status(status_of("kill -TERM $$")), 128 + libc::SIGTERM);
    }
}
