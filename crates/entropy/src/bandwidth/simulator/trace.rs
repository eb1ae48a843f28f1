//! What has happened, and what follows from it for every stretch of time, in whole numbers.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::nanoseconds;
use crate::bandwidth::ClassId;
use crate::bandwidth::fine_time::SECOND;

/// What happens to a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It wants something, and did not before.
    Wants,
    /// It got so many bytes.
    Given(u64),
    /// It wants nothing more.
    Satisfied,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When: nanoseconds of the simulator's clock.
    pub at: u64,
    /// To which leaf.
    pub class: ClassId,
    /// What.
    pub what: What,
}

/// Everything that happened, the first first.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    events: Vec<Event>,
    /// Until when it is known that no more has happened (nanoseconds).
    pub(super) end: u64,
}

impl Trace {
    pub(super) fn record(&mut self, at: u64, class: ClassId, what: What) {
        self.events.push(Event { at, class, what });
    }

    /// What happened to some leaves.
    fn of(&self, leaves: &[ClassId]) -> impl Iterator<Item = &Event> {
        let leaves: BTreeSet<_> = leaves.iter().copied().collect();
        self.events.iter().filter(move |event| leaves.contains(&event.class))
    }

    /// What happened, the first first.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many bytes some leaves got.
    pub fn given(&self, leaves: &[ClassId]) -> u64 {
        self.given_between(leaves, Duration::ZERO, Duration::MAX)
    }

    /// How many bytes some leaves got, from one time of the clock to just before another one.
    pub fn given_between(&self, leaves: &[ClassId], from: Duration, until: Duration) -> u64 {
        let between = nanoseconds(from)..nanoseconds(until);
        let given = |event: &Event| match event.what {
            What::Given(bytes) if between.contains(&event.at) => bytes,
            _ => 0,
        };
        self.of(leaves).map(given).sum()
    }

    /// By how many bytes, rounded up, some leaves together got more than a rate (bytes per second)
    /// allows, in the worst of all stretches of time, short or long. A ceiling holds if this is no
    /// more than its burst.
    pub fn most_above(&self, leaves: &[ClassId], rate: u64) -> u64 {
        let (mut given, mut least, mut most) = (0, i128::MAX, 0);
        for event in self.of(leaves) {
            let What::Given(bytes) = event.what else { continue };
            // Both ends belong to a stretch of time.
            least = least.min(given - line(rate, event.at));
            given += i128::from(bytes) * BYTE;
            most = most.max(given - line(rate, event.at) - least);
        }
        in_bytes(most)
    }

    /// By how many bytes, rounded up, some leaves together got less than a rate (bytes per second)
    /// promises, in the worst of all stretches of time of a period or longer in which at least one
    /// of them wanted something all the time.
    pub fn most_below(&self, leaves: &[ClassId], rate: u64, period: Duration) -> u64 {
        let mut busy = Busy { rate, period: nanoseconds(period), ..Busy::default() };
        for event in self.of(leaves) {
            match event.what {
                What::Wants => busy.begin(event.at),
                What::Given(bytes) => busy.give(event.at, bytes),
                What::Satisfied => busy.end(event.at),
            }
        }
        busy.look(self.end);
        in_bytes(busy.most)
    }
}

/// A byte, in byte-nanoseconds per second: what a rate makes in a nanosecond is whole in them.
const BYTE: i128 = SECOND as i128;

/// What a rate makes until then.
fn line(rate: u64, at: u64) -> i128 {
    i128::from(rate) * i128::from(at)
}

fn in_bytes(amount: i128) -> u64 {
    u64::try_from((amount.max(0) + BYTE - 1) / BYTE).unwrap_or(u64::MAX)
}

/// Looks for the worst stretch of time.
#[derive(Default)]
struct Busy {
    rate: u64,
    period: u64,
    /// How many leaves want something.
    wanting: usize,
    given: i128,
    /// How far it was above the line, at times at which a stretch may begin that are not yet a
    /// period ago: the beginning, and after each time that a leaf got something.
    recent: VecDeque<(u64, i128)>,
    /// The most of it, of those that are.
    highest: Option<i128>,
    /// The worst so far.
    most: i128,
}

impl Busy {
    fn begin(&mut self, at: u64) {
        if self.wanting == 0 {
            self.recent.clear();
            self.highest = None;
            self.recent.push_back((at, self.given - line(self.rate, at)));
        }
        self.wanting += 1;
    }

    fn give(&mut self, at: u64, bytes: u64) {
        self.look(at);
        self.given += i128::from(bytes) * BYTE;
        self.recent.push_back((at, self.given - line(self.rate, at)));
    }

    fn end(&mut self, at: u64) {
        self.look(at);
        self.wanting = self.wanting.saturating_sub(1);
    }

    /// Looks at the stretches that end here.
    fn look(&mut self, at: u64) {
        if self.wanting == 0 {
            return;
        }
        while let Some((begin, height)) = self.recent.front().copied() {
            if at.saturating_sub(begin) < self.period {
                break;
            }
            self.recent.pop_front();
            self.highest = Some(self.highest.map_or(height, |highest| highest.max(height)));
        }
        if let Some(highest) = self.highest {
            self.most = self.most.max(highest - (self.given - line(self.rate, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ClassId = ClassId(1);
    const B: ClassId = ClassId(2);

    fn trace(events: &[(u64, ClassId, What)], end: u64) -> Trace {
        let mut trace = Trace::default();
        for (milliseconds, class, what) in events {
            trace.record(milliseconds * 1_000_000, *class, *what);
        }
        trace.end = end * 1_000_000;
        trace
    }

    #[test]
    fn the_most_above_a_rate_is_found_in_the_middle() {
        let events = [(0, 10), (1000, 30), (1500, 40), (3000, 10)];
        let trace = trace(&events.map(|(at, bytes)| (at, A, What::Given(bytes))), 4000);
        // From 1 s to 1.5 s, both included: 70 bytes, of which the rate makes 10.
        assert_eq!(trace.most_above(&[A], 20), 60);
        assert_eq!(trace.most_above(&[B], 20), 0);
    }

    #[test]
    fn the_most_below_a_rate_is_found_between_two_gifts() {
        let mut events = vec![(0, A, What::Wants)];
        events.extend([0, 500, 1000, 2500, 3000].map(|at| (at, A, What::Given(10))));
        let trace = trace(&events, 3200);
        let second = Duration::from_secs(1);
        // Just after 1 s until just before 2.5 s.
        assert_eq!(trace.most_below(&[A], 20, second), 30);
        // Just after the beginning until the end; a shorter one does not count.
        assert_eq!(trace.most_below(&[A], 20, Duration::from_millis(3100)), 24);
    }

    #[test]
    fn time_without_requests_does_not_count() {
        let events = [
            (0, A, What::Wants),
            (100, A, What::Given(10)),
            (100, A, What::Satisfied),
            (5000, A, What::Wants),
            (6500, B, What::Wants),
            (6500, A, What::Satisfied),
            (7500, B, What::Given(10)),
            (7500, B, What::Satisfied),
        ];
        let trace = trace(&events, 9000);
        let second = Duration::from_secs(1);
        assert_eq!(trace.most_below(&[A], 100, second), 150);
        assert_eq!(trace.most_below(&[B], 100, second), 100);
        assert_eq!(trace.most_below(&[A, B], 100, second), 250);
    }

    #[test]
    fn what_was_given_in_between_is_counted() {
        let events = [(0, 10), (1000, 30), (1500, 40)].map(|(at, n)| (at, A, What::Given(n)));
        let trace = trace(&events, 2000);
        let second = Duration::from_secs(1);
        assert_eq!(trace.given_between(&[A], second, second * 2), 70);
        assert_eq!(trace.given_between(&[A, B], Duration::ZERO, second), 10);
        assert_eq!(trace.given(&[A]), 80);
    }
}
