//! A device's timers: deadlines by number.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Most timers that can be set at a time. A device that takes numbers from its guest must not
/// grow without a bound.
const MAX_TIMERS: usize = 64;

/// The timers that are set. There are few, so that a list is all it takes.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: Vec<Timer>,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    id: u32,
    due: Instant,
}

/// A timer as a value: its number and the time that it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimerState {
    id: u32,
    left: Duration,
}

impl TimerState {
    /// The same timer when that much more time has passed.
    pub fn after(self, passed: Duration) -> Self {
        TimerState { left: self.left.saturating_sub(passed), ..self }
    }
}

impl Timers {
    /// Sets a timer, or moves it. `None` is a time that never comes.
    pub fn set(&mut self, id: u32, due: Option<Instant>) {
        self.cancel(id);
        let Some(due) = due else { return };
        if self.set.len() < MAX_TIMERS {
            self.set.push(Timer { id, due });
        } else {
            log::warn!("timer {id} is not set: the device has set {MAX_TIMERS} others already");
        }
    }

    pub fn cancel(&mut self, id: u32) {
        self.set.retain(|timer| timer.id != id);
    }

    pub fn clear(&mut self) {
        self.set.clear();
    }

    /// Saves those that are set, in the order in which they were.
    pub fn save(&self, now: Instant) -> Vec<TimerState> {
        let left = |timer: &Timer| timer.due.saturating_duration_since(now);
        self.set.iter().map(|timer| TimerState { id: timer.id, left: left(timer) }).collect()
    }

    /// Sets those that another device had set, with the time that they had left.
    pub fn restore(&mut self, timers: &[TimerState], now: Instant) {
        self.clear();
        timers.iter().for_each(|timer| self.set(timer.id, now.checked_add(timer.left)));
    }

    /// Lets all of them fire later by that time; those that cannot never do.
    pub fn postpone(&mut self, time: Duration) {
        self.set.retain_mut(|timer| {
            let due = timer.due.checked_add(time);
            timer.due = due.unwrap_or(timer.due);
            due.is_some()
        });
    }

    /// When the next one is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.set.iter().map(|timer| timer.due).min()
    }

    /// Takes a timer, whenever it is due. Returns whether it was set.
    pub fn take(&mut self, id: u32) -> bool {
        let place = self.set.iter().position(|timer| timer.id == id);
        place.map(|place| self.set.remove(place)).is_some()
    }

    /// Takes the one that is due first, if it is by now; of several for the same moment, the one
    /// that was set first.
    pub fn take_due(&mut self, now: Instant) -> Option<u32> {
        let (place, first) = self.set.iter().enumerate().min_by_key(|(_, timer)| timer.due)?;
        (first.due <= now).then(|| self.set.remove(place).id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_due_by_their_times() {
        let now = Instant::now();
        let after = |ms| now + Duration::from_millis(ms);
        let mut timers = Timers::default();
        for (id, ms) in [(7, 30), (1, 10), (2, 20), (3, 20)] {
            timers.set(id, Some(after(ms)));
        }
        timers.set(1, Some(after(25)));
        assert_eq!(timers.next_due(), Some(after(20)));
        assert_eq!(timers.take_due(after(19)), None);
        let order = std::iter::from_fn(|| timers.take_due(after(29))).collect::<Vec<_>>();
        assert_eq!(order, [2, 3, 1]);
        timers.cancel(7);
        assert!(timers.next_due().is_none());
        timers.set(7, None);
        assert!(timers.next_due().is_none(), "a time that never comes");
    }

    #[test]
    fn saved_timers_have_the_time_left_that_they_had() {
        let now = Instant::now();
        let after = |ms| now + Duration::from_millis(ms);
        let (mut timers, mut others) = (Timers::default(), Timers::default());
        for (id, ms) in [(7, 30), (1, 10), (2, 20)] {
            timers.set(id, Some(after(ms)));
        }
        others.set(9, Some(now));
        others.restore(&timers.save(after(15)), after(1015));
        assert_eq!(others.take_due(after(1015)), Some(1), "it was due already");
        assert_eq!(others.next_due(), Some(after(1020)));
        assert_eq!(others.save(after(1015)).len(), 2);
    }

    #[test]
    fn numbers_without_end_do_not_grow_without_end() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut timers = Timers::default();
        for id in 0..100_000 {
            timers.set(id, Some(later));
        }
        assert_eq!(timers.set.len(), MAX_TIMERS);
        timers.set(3, Some(now));
        assert_eq!(timers.take_due(now), Some(3), "one that is set can be moved");
        assert_eq!(timers.set.len(), MAX_TIMERS - 1);
    }
}
