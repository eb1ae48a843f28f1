//! The thread for work that blocks, so that the session's thread never does.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::reply::Reply;
use crate::waker::Waker;

/// What a piece of work comes to; an error is what it panicked with.
type Outcome<T> = thread::Result<T>;

/// A thread that does one piece of work after the other. It ends when this value is dropped and the
/// piece under way is done.
pub(super) struct Worker {
    work: Sender<Box<dyn FnOnce() + Send>>,
}

impl Worker {
    /// Starts the thread, and makes the descriptor by which it wakes the session.
    ///
    /// # Errors
    /// What eventfd(2) and clone(2) say.
    pub fn start(session: &OnceLock<Waker>) -> io::Result<Self> {
        if session.get().is_none() {
            // Only this thread sets it: it is not set in between.
            let _ = session.set(Waker::new()?);
        }
        let (work, queue) = channel::<Box<dyn FnOnce() + Send>>();
        thread::Builder::new().name("offload".into()).spawn(move || {
            while let Ok(piece) = queue.recv() {
                piece();
            }
        })?;
        Ok(Worker { work })
    }

    /// Queues a piece of work. One whose task is dropped before it has begun is left out.
    pub fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Arc<Reply<Outcome<T>>> {
        let reply = Reply::new();
        let given = Arc::clone(&reply);
        let piece = Box::new(move || {
            if !given.is_abandoned() {
                given.give(catch_unwind(AssertUnwindSafe(work)));
            }
        });
        if self.work.send(piece).is_err() {
            // The thread catches every panic of its work, so it is there as long as this value.
            log::error!("the thread for blocking work has ended");
        }
        reply
    }
}
