//! The rate limiter of a guest: at most so many bytes in each period.
//!
//! The limit holds in every stretch of time that is one period long, whenever it starts. A token bucket
//! cannot promise that: after an idle period it lets a burst through, and the refill of the next period
//! behind it. So the [`Limiter`] is a sliding window. It remembers when bytes were taken, and each byte
//! counts for a whole period.
//!
//! There is no clock in here: every call says what time it is.

mod limit;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use limit::{Limit, LimitError, MaxBytes, Period};

/// Into how many parts a period is divided: what is taken within one part is remembered as one, so
/// that memory is bounded. Bytes count for up to one part longer than the period by that.
const PARTS: u32 = 256;

/// The shortest time there is: what was taken exactly a period ago counts still.
const TICK: Duration = Duration::from_nanos(1);

/// What may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Available {
    /// So many bytes, 1 or more.
    Bytes(u64),
    /// Nothing before then.
    From(Instant),
}

/// Bytes that were taken at about the same time.
#[derive(Clone, Copy, Debug)]
struct Taken {
    first: Instant,
    last: Instant,
    bytes: u64,
}

/// Enforces a [`Limit`].
#[derive(Clone, Debug)]
pub struct Limiter {
    limit: Limit,
    /// What counts still, the oldest first. No more than [`PARTS`] and a few.
    taken: VecDeque<Taken>,
    /// The sum of it.
    total: u64,
}

/// What counts of a limiter, as a value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LimiterState(Vec<SavedTaken>);

/// [`Taken`], by the time that has passed since.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedTaken {
    first_ago: Duration,
    last_ago: Duration,
    bytes: u64,
}

impl Limiter {
    /// Saves what counts.
    pub fn save(&self, now: Instant) -> LimiterState {
        let ago = |then: Instant| now.saturating_duration_since(then);
        let taken = self.taken.iter().map(|taken| SavedTaken {
            first_ago: ago(taken.first),
            last_ago: ago(taken.last),
            bytes: taken.bytes,
        });
        LimiterState(taken.collect())
    }

    /// Counts what another one has counted, and nothing else.
    pub fn restore(&mut self, state: &LimiterState, now: Instant) {
        let then = |ago: Duration| now.checked_sub(ago).unwrap_or(now);
        // A limiter remembers no more than that.
        let saved = state.0.iter().take(2 * PARTS as usize);
        self.taken = saved
            .map(|saved| Taken {
                first: then(saved.first_ago),
                last: then(saved.last_ago),
                bytes: saved.bytes,
            })
            .collect();
        self.total = self.taken.iter().fold(0, |sum, taken| sum.saturating_add(taken.bytes));
    }

    /// A limiter of which nothing has been taken.
    pub fn new(limit: Limit) -> Self {
        Limiter { limit, taken: VecDeque::new(), total: 0 }
    }

    /// Sets another limit. What was taken before counts for as long as the new period is.
    pub fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// How much of `wanted`, which is 1 or more, may be taken now.
    pub fn available(&mut self, now: Instant, wanted: u64) -> Available {
        self.forget(now);
        match self.limit.max_bytes.get().saturating_sub(self.total) {
            0 => Available::From(self.next_room().unwrap_or(now)),
            room => Available::Bytes(room.min(wanted)),
        }
    }

    /// Counts what really was taken.
    pub fn spend(&mut self, now: Instant, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.forget(now);
        self.total = self.total.saturating_add(bytes);
        let part = self.limit.period.get() / PARTS;
        match self.taken.back_mut() {
            Some(latest) if now.saturating_duration_since(latest.first) < part.max(TICK) => {
                latest.last = latest.last.max(now);
                latest.bytes = latest.bytes.saturating_add(bytes);
            }
            _ => self.taken.push_back(Taken { first: now, last: now, bytes }),
        }
    }

    /// Forgets what does not count any more.
    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.taken.front() {
            if now.saturating_duration_since(oldest.last) <= self.limit.period.get() {
                break;
            }
            self.total -= oldest.bytes.min(self.total);
            self.taken.pop_front();
        }
    }

    /// When so much does not count any more that there is room for a byte.
    fn next_room(&self) -> Option<Instant> {
        // Usually 0; after a change to a smaller limit, more may have been taken.
        let mut surplus = self.total.saturating_sub(self.limit.max_bytes.get());
        for taken in &self.taken {
            if taken.bytes > surplus {
                return taken.last.checked_add(self.limit.period.get() + TICK);
            }
            surplus -= taken.bytes;
        }
        None
    }
}

#[cfg(test)]
pub(crate) mod tests;
