//! Waits until a file of a step is saved.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use notify::{Event, RecursiveMode, Watcher};

/// An editor saves in several steps, which take less than this.
const SETTLED: Duration = Duration::from_millis(150);

/// Changes of some files.
#[derive(Debug)]
pub struct Changes {
    events: Receiver<notify::Result<Event>>,
    /// Watches as long as it lives.
    _watcher: notify::RecommendedWatcher,
    files: Vec<PathBuf>,
}

impl Changes {
    /// From now on.
    pub fn of(files: &[PathBuf]) -> Result<Self> {
        let (sender, events) = channel();
        // The receiver is gone only when the value is.
        let mut watcher = notify::recommended_watcher(move |event| drop(sender.send(event)))
            .context("cannot watch files")?;
        let mut absolute = Vec::new();
        for file in files {
            // By its folder: editors put a new file in its place.
            let file =
                file.canonicalize().with_context(|| format!("no file {}", file.display()))?;
            let folder = file.parent().context("a file is in a folder")?;
            watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .with_context(|| format!("cannot watch {}", folder.display()))?;
            absolute.push(file);
        }
        Ok(Self { events, _watcher: watcher, files: absolute })
    }

    /// Whether these are the files.
    #[must_use]
    pub fn covers(&self, files: &[PathBuf]) -> bool {
        files.iter().all(|file| file.canonicalize().is_ok_and(|file| self.files.contains(&file)))
    }

    /// Waits for the next change, until none has followed for a moment.
    pub fn wait(&self) -> Result<()> {
        let mut changed = false;
        loop {
            let timeout = if changed { SETTLED } else { Duration::MAX };
            match self.events.recv_timeout(timeout) {
                Ok(event) => {
                    let event = event.context("cannot watch files any longer")?;
                    let ours = event.paths.iter().any(|path| self.files.contains(path));
                    changed |= ours && !event.kind.is_access();
                }
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(error) => return Err(error).context("cannot watch files any longer"),
            }
        }
    }
}
