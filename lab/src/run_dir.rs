//! The folder of one run: its sockets and logs, `target/lab/run/NAME`.
//!
//! The path of a Unix socket has room for 107 bytes, which a deep checkout exceeds. So the
//! processes of a run are started in this folder and get the bare names; and the lab itself goes
//! through `/proc/self/fd`, which is short wherever the checkout is.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

use crate::{files, lock, paths, slots};

/// How many runs of a name there can be at once.
const ALIKE: u32 = 100;
/// How many lines of a log an error shows.
const SHOWN_LINES: usize = 15;

/// The folders of the runs that are on in this process.
static ON: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn on() -> MutexGuard<'static, Vec<PathBuf>> {
    ON.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the sockets of all runs that are on, for a process that ends without dropping them.
pub fn remove_all_sockets() {
    for path in on().drain(..) {
        // What is left over is removed by the next run of this name.
        let _ = remove_where(&path, |metadata| metadata.file_type().is_socket());
    }
}

/// The folder of a run. Its logs stay, its sockets go with the value.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The folder, opened: the lock on it says that the run is on.
    handle: File,
    /// The right of its guests to run.
    slot: slots::Shared,
}

impl RunDir {
    /// Makes the folder, or empties that of an earlier run. While another run of that name is on,
    /// the name gets a number.
    pub fn create(name: &str) -> Result<Self> {
        for number in 1..=ALIKE {
            let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            let path = paths::lab().join("run").join(name);
            files::create_folder(&path)?;
            let handle =
                File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            if lock::try_exclusive(&handle) {
                let run = Self { path, handle, slot: slots::Shared::default() };
                remove_where(&run.path, |_| true)?;
                on().push(run.path.clone());
                return Ok(run);
            }
        }
        bail!("{ALIKE} runs named {name} are on; end some")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The right to run guests, which those of a run share; waits for other runs to end.
    pub fn slot(&self) -> Arc<slots::Slot> {
        self.slot.get()
    }

    /// A path to a file in it that is short enough for a socket, for this process only.
    pub fn short(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.handle.as_raw_fd()).into()
    }

    /// Listens on a socket in it.
    pub fn listen(&self, name: &str) -> Result<UnixListener> {
        lock::remove(&self.path.join(name))?;
        UnixListener::bind(self.short(name))
            .with_context(|| format!("cannot listen on {}", self.path.join(name).display()))
    }

    /// Connects to a socket in it.
    pub fn connect(&self, name: &str) -> Result<UnixStream> {
        UnixStream::connect(self.short(name))
            .with_context(|| format!("cannot connect to {}", self.path.join(name).display()))
    }

    /// Makes an empty file in it.
    pub fn file(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        File::create(&path).with_context(|| format!("cannot create {}", path.display()))
    }

    /// What a log in it says; nothing when there is none.
    pub fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of a log, with its path, for an error message.
    pub fn tail(&self, name: &str) -> String {
        let text = self.read(name);
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        let path = self.path.join(name);
        if shown.is_empty() {
            return format!("{} is empty", path.display());
        }
        format!("the end of {}:\n    {}", path.display(), shown.join("\n    "))
    }
}

fn remove_where(folder: &Path, condition: impl Fn(&fs::Metadata) -> bool) -> Result<()> {
    for entry in files::entries(folder)? {
        if entry.metadata().is_ok_and(|metadata| condition(&metadata)) {
            lock::remove(&entry.path())?;
        }
    }
    Ok(())
}

impl Drop for RunDir {
    fn drop(&mut self) {
        on().retain(|path| *path != self.path);
        // What is left over is removed by the next run of this name.
        let _ = remove_where(&self.path, |metadata| metadata.file_type().is_socket());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_a_run_go_with_it_and_logs_stay() {
        let run = RunDir::create("unit-test").expect("a folder can be made");
        let path = run.path().to_path_buf();
        let _listener = run.listen("a.sock").expect("a short path to it exists");
        run.connect("a.sock").expect("a listener");
        fs::write(path.join("a.log"), "one\ntwo\n").expect("writable");
        assert!(run.tail("a.log").ends_with("one\n    two"));
        let other = RunDir::create("unit-test").expect("the next number is free");
        assert!(other.path().ends_with("unit-test-2"), "{}", other.path().display());
        drop(run);
        assert!(!path.join("a.sock").exists());
        assert!(path.join("a.log").exists());
    }
}
