//! Every order in which a thread can wake a task while another one polls it, tried by loom.

/// The flags, with loom's atomics.
#[path = "../ready.rs"]
#[allow(dead_code, reason = "no test lets a device end")]
#[allow(clippy::duplicate_mod, reason = "this one has other atomics")]
mod ready;

use loom::sync::{Arc, atomic};
use loom::thread;

use atomic::{AtomicUsize, Ordering};
use ready::{AnyReady, Ready};

/// The threads, as the flags tell them apart.
const POLLS: usize = 1;
const WAKES: usize = 2;

struct Task {
    any: AnyReady,
    ready: Ready,
    /// How much there is for the task to see. The flags alone order it.
    work: AtomicUsize,
}

impl Task {
    /// A task that has been polled once, and waits.
    fn waiting() -> Self {
        let any = AnyReady::default();
        let ready = Ready::new(&any);
        any.begin_round(POLLS);
        assert!(ready.take(), "a new task is polled");
        Task { any, ready, work: AtomicUsize::new(0) }
    }

    fn wake(&self) -> bool {
        self.work.fetch_add(1, Ordering::Relaxed);
        self.ready.wake(&self.any, WAKES)
    }

    /// A round of the session, if there is anything to do in it. Returns what the task saw, if it was polled.
    fn round(&self) -> Option<usize> {
        if !self.any.is_set() {
            return None;
        }
        self.any.begin_round(POLLS);
        self.ready.take().then(|| self.work.load(Ordering::Relaxed))
    }
}

#[test]
fn no_wake_up_is_lost() {
    let mut model = loom::model::Builder::new();
    // Without a bound it takes a minute, and with 2 a wake-up in the wrong order is not found.
    model.preemption_bound = Some(3);
    model.check(|| {
        let task = Arc::new(Task::waiting());
        let wakers = [Arc::clone(&task), Arc::clone(&task)];
        let wakers = wakers.map(|task| thread::spawn(move || assert!(task.wake(), "it may sleep")));
        let mut seen = task.round().unwrap_or(0);
        for waker in wakers {
            waker.join().expect("it ends");
        }
        // The session has been woken, and goes on for as long as there is a round.
        while task.any.is_set() {
            seen = task.round().unwrap_or(seen);
        }
        assert_eq!(seen, 2, "the task has not seen all");
    });
}
