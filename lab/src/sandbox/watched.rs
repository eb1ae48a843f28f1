//! A program that goes on in the sandbox while its caller does something else.
//!
//! [`Sandbox::run`](super::Sandbox::run) looks at the sums of memory and disk while it waits for
//! the end. A program that serves others has no end to wait for, so a thread looks at them.

use std::process::{ChildStdout, Command};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::Result;

use super::traced::Stage;
use super::watch::Watch;
use super::{End, Sandbox};
use crate::process::{self, Child};

/// A running program, killed with its family when it goes over its limits or the value goes.
#[derive(Debug)]
pub struct Watched {
    shared: Arc<Mutex<State>>,
    /// Gone when no thread needs to look any more.
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Has to stay while the program runs.
    _stage: Option<Arc<Stage>>,
}

#[derive(Debug)]
struct State {
    child: Child,
    end: Option<End>,
}

impl Sandbox {
    /// Starts a command made with [`Self::command`] and kills it when it goes over the limits of
    /// memory and disk. It dies with the calling thread, like that command. The time is not
    /// watched.
    pub fn start(&self, command: &mut Command) -> Result<Watched> {
        let child = Child::spawn("the sandbox", command)?;
        let mut watch = Watch::new(child.pid(), self.watched_folders());
        let limits = self.limits;
        let shared = Arc::new(Mutex::new(State { child, end: None }));
        let theirs = Arc::clone(&shared);
        let (done, wait) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while wait.recv_timeout(process::POLL) == Err(RecvTimeoutError::Timeout) {
                let over = watch.over(&limits);
                let mut state = lock(&theirs);
                // What has ended needs no watch, and its number may be another process's by now.
                if !matches!(state.ended(), Ok(None)) {
                    return;
                }
                if over.is_some() {
                    state.end = over;
                    // It may have ended by itself just now.
                    let _ = state.child.kill();
                    return;
                }
            }
        });
        Ok(Watched { shared, done: Some(done), thread: Some(thread), _stage: self.stage.clone() })
    }
}

impl State {
    fn ended(&mut self) -> Result<Option<End>> {
        if self.end.is_none() {
            self.end = self.child.ended()?.map(End::Ended);
        }
        Ok(self.end)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    /// Its standard output, when it was made a pipe and was not taken yet.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        lock(&self.shared).child.take_stdout()
    }

    /// How it ended, or nothing while it runs.
    pub fn ended(&mut self) -> Result<Option<End>> {
        lock(&self.shared).ended()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = lock(&self.shared).child.kill();
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            // It cannot panic.
            let _ = thread.join();
        }
    }
}
