//! How many guests run at once in a process: an emulated guest keeps a processor or two busy, and
//! a test suite starts as many tests as there are processors.
//!
//! What is counted are runs with guests. Were it guests, two tests could each wait for the other's
//! only guest before they start their second.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

/// Never fewer at once, so that one that waits does not hold up the others.
const LEAST: usize = 2;
/// How many processors a guest gets.
const PROCESSORS: usize = 2;

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

fn slots() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    LEAST.max(processors / PROCESSORS)
}

/// The right to run guests; given back when the value goes.
#[derive(Debug)]
pub struct Slot(());

/// Waits until fewer runs than allowed have guests.
#[must_use]
pub fn wait() -> Slot {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut taken = GIVEN_BACK
        .wait_while(taken, |taken| *taken >= slots())
        .unwrap_or_else(PoisonError::into_inner);
    *taken += 1;
    Slot(())
}

impl Drop for Slot {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GIVEN_BACK.notify_one();
    }
}

/// The slot that the guests of a run share.
#[derive(Debug, Default)]
pub struct Shared(Mutex<Weak<Slot>>);

impl Shared {
    /// The slot that a guest of this run has already, or else a new one.
    pub fn get(&self) -> Arc<Slot> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = shared.upgrade() {
            return slot;
        }
        let slot = Arc::new(wait());
        *shared = Arc::downgrade(&slot);
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_runs_have_guests_than_there_are_slots_and_all_get_their_turn() {
        let running = AtomicUsize::new(0);
        let finished = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 * slots() {
                scope.spawn(|| {
                    let run = Shared::default();
                    let first = run.get();
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(now <= slots(), "{now} at once");
                    // A second guest of the run does not wait, and keeps the slot.
                    let second = run.get();
                    drop(first);
                    std::thread::sleep(Duration::from_millis(20));
                    running.fetch_sub(1, Ordering::SeqCst);
                    drop(second);
                    finished.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(finished.into_inner(), 3 * slots());
    }
}
