//! Which tasks can go on: a flag for each, and one for all of a device, so that a look at tasks that all
//! wait costs one load. Any thread sets them; the thread that polls the tasks takes them.
//!
//! Its test has loom's atomics in the place of the standard library's.

use super::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether any task of a device can go on.
#[derive(Debug, Default)]
pub(super) struct AnyReady {
    set: AtomicBool,
    /// The thread that polls the tasks.
    thread: AtomicUsize,
}

impl AnyReady {
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Begins to poll tasks on this thread: what wakes one from now on is for the next round.
    pub fn begin_round(&self, thread: usize) {
        self.thread.store(thread, Ordering::Release);
        // A swap, which sees the wake-up that it takes: a store would not order the look at each
        // task's flag behind it.
        self.set.swap(false, Ordering::AcqRel);
    }

    /// No task is left.
    pub fn clear(&self) {
        self.set.store(false, Ordering::Release);
    }
}

/// Whether one task can go on.
#[derive(Debug)]
pub(super) struct Ready(AtomicBool);

impl Ready {
    /// A new task can go on.
    pub fn new(any: &AnyReady) -> Self {
        any.set.store(true, Ordering::Release);
        Ready(AtomicBool::new(true))
    }

    /// Wakes the task. Returns whether another thread than this one polls it, which may be asleep.
    pub fn wake(&self, any: &AnyReady, thread: usize) -> bool {
        // Swaps: a store would hide what another thread had done before it woke the task.
        self.0.swap(true, Ordering::AcqRel);
        any.set.swap(true, Ordering::AcqRel);
        any.thread.load(Ordering::Acquire) != thread
    }

    /// Whether the task was woken since this was asked.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}
