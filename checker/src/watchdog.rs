//! Ends a guest that writes the host's disk full: its console, QEMU's complaints and the device's
//! log are files, and a submission decides how much goes to them.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The most that a log may have.
const MAX_LOG: u64 = 16 << 20;
/// The most that the log of our own device may have: two million accesses.
const MAX_ACCESSES: u64 = 160 << 20;
/// The name of that log in its run.
const ACCESSES: &str = "my-rng.log";
/// How often it looks.
const EVERY: Duration = Duration::from_millis(100);

/// Watches the logs of a run while a process runs, and kills that when one grows too long.
#[derive(Debug)]
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    done: AtomicBool,
    /// The log that grew too long.
    too_long: Mutex<Option<PathBuf>>,
}

impl Watchdog {
    /// Watches the files of a folder whose names end in `.log`.
    pub fn start(folder: &Path, pid: u32) -> Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("this is no process")?;
        // Unlike the number, it is never another process's.
        let process = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch QEMU")?;
        let shared = Arc::new(Shared::default());
        let (folder, theirs) = (folder.to_path_buf(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || watch(&folder, &process, &theirs));
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The log that it had to kill the process for.
    #[must_use]
    pub fn too_long(&self) -> Option<PathBuf> {
        self.shared.too_long.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Empties logs that are long already, so that the next process can be watched.
pub fn make_room(folder: &Path) -> Result<()> {
    for (path, length) in logs(folder) {
        if length > MAX_LOG / 2 {
            let log = OpenOptions::new().write(true).open(&path);
            log.and_then(|log| log.set_len(0))
                .with_context(|| format!("cannot empty {}", path.display()))?;
        }
    }
    Ok(())
}

fn watch(folder: &Path, process: &OwnedFd, shared: &Shared) {
    while !shared.done.load(Ordering::SeqCst) {
        if let Some((path, _)) = logs(folder).find(|(path, length)| *length > most(path)) {
            *shared.too_long.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
            // It may have ended by itself.
            let _ = pidfd_send_signal(process, Signal::KILL);
            return;
        }
        std::thread::sleep(EVERY);
    }
}

/// What a log that grew too long means, which is the guest's console or a device's.
#[must_use]
pub fn endless(log: &Path, console: &str) -> String {
    let most = most(log) >> 20;
    if log.ends_with(console) {
        format!(
            "endless output: the kernel printed more than {most} MiB; is there a printk in a loop \
             that does not end?"
        )
    } else {
        format!(
            "the device was accessed without end, more than {most} MiB of accesses were logged; is \
             there a loop that does not end?"
        )
    }
}

/// The most that a log may have, by its name.
fn most(log: &Path) -> u64 {
    if log.ends_with(ACCESSES) { MAX_ACCESSES } else { MAX_LOG }
}

/// The logs with their sizes.
fn logs(folder: &Path) -> impl Iterator<Item = (PathBuf, u64)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"))
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .filter(|(_, data)| data.is_file())
        .map(|(path, data)| (path, data.len()))
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It cannot panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_log_that_grows_too_long_ends_the_process() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep exists");
        let watchdog = Watchdog::start(folder.path(), child.id()).expect("it can be watched");
        assert_eq!(watchdog.too_long(), None);
        let log = std::fs::File::create(folder.path().join("console.log")).expect("writable");
        log.set_len(MAX_LOG + 1).expect("there is room for a hole");
        child.wait().expect("it ends");
        assert_eq!(watchdog.too_long(), Some(folder.path().join("console.log")));
        make_room(folder.path()).expect("it can be emptied");
        assert!(logs(folder.path()).all(|(_, length)| length == 0));
    }
}
