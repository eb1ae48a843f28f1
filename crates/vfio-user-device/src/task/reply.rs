//! One value that a task waits for: the end of an access to guest memory, of a sleep, of work.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Shared by the task that waits and by what gives the value.
pub(crate) struct Reply<T>(Mutex<State<T>>);

struct State<T> {
    value: Option<T>,
    waiting: Option<Waker>,
}

impl<T> Reply<T> {
    /// A reply that has not been given.
    pub fn new() -> Arc<Self> {
        Arc::new(Reply(Mutex::new(State { value: None, waiting: None })))
    }

    /// Gives the value and wakes the task.
    pub fn give(&self, value: T) {
        let mut state = self.state();
        state.value = Some(value);
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Whether the task has been dropped, so that the value is of no use.
    pub fn is_abandoned(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }

    /// Waits for the value.
    pub async fn wait(self: Arc<Self>) -> T {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &Context<'_>) -> Poll<T> {
        let mut state = self.state();
        match state.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A poisoned state is whole: nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
