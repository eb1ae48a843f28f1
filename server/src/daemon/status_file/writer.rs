//! The thread that writes the status file: those that have something to write open no files.

use std::io;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread;

use anyhow::{Context, Result};

use super::{ClassIds, StatusFile};
use crate::daemon::sandbox::STATUS_FILE;

/// What is to be written, and where to say how that went.
type Job = (ClassIds, SyncSender<Result<()>>);

/// The thread, which ends when this value goes. There is none without a file.
#[derive(Debug)]
pub struct StatusFileWriter(Option<Sender<Job>>);

impl StatusFileWriter {
    /// Starts it.
    ///
    /// # Errors
    /// Threads have run out.
    pub fn start(file: StatusFile) -> io::Result<Self> {
        if file.path.is_none() {
            return Ok(StatusFileWriter(None));
        }
        let (jobs, queue) = channel::<Job>();
        thread::Builder::new().name("status file".into()).spawn(move || {
            STATUS_FILE.enter();
            for (ids, done) in queue {
                // The caller of `store` waits for it.
                let _ = done.send(file.store(&ids));
            }
        })?;
        Ok(StatusFileWriter(Some(jobs)))
    }

    /// Writes what is to be kept, and waits until that is done.
    ///
    /// # Errors
    /// See [`StatusFile::store`].
    pub fn store(&self, ids: ClassIds) -> Result<()> {
        let Some(jobs) = &self.0 else { return Ok(()) };
        let (done, end) = sync_channel(1);
        let ended = "the thread that writes the status file has ended";
        jobs.send((ids, done)).ok().context(ended)?;
        end.recv().context(ended)?
    }
}
