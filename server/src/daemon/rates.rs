//! How fast counters have grown lately.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back a rate looks.
pub const WINDOW: Duration = Duration::from_secs(5);

/// Readings of one counter, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    readings: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Notes what the counter says now.
    pub fn note(&mut self, now: Instant, count: u64) {
        self.readings.push_back((now, count));
        // One reading from before the window is kept: the window begins somewhere behind it.
        while self.readings.get(1).is_some_and(|(then, _)| now.duration_since(*then) >= WINDOW) {
            self.readings.pop_front();
        }
    }

    /// By how much it has grown in a second, from the oldest reading until now.
    pub fn per_second(&self, now: Instant, count: u64) -> f64 {
        let Some((then, earlier)) = self.readings.front() else { return 0.0 };
        let seconds = now.duration_since(*then).as_secs_f64();
        if seconds > 0.0 { count.saturating_sub(*earlier) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert!(rate.per_second(start, 5) < f64::EPSILON, "nothing is known yet");
        for second in 0..20 {
            let count = if second < 10 { 1000 * second } else { 10_000 };
            rate.note(start + Duration::from_secs(second), count);
            assert!(rate.readings.len() <= 6);
            if second == 9 {
                let rate = rate.per_second(start + Duration::from_secs(9), 9000);
                assert!((rate - 1000.0).abs() < 1e-9, "{rate}");
            }
        }
        let idle = rate.per_second(start + Duration::from_secs(20), 10_000);
        assert!(idle.abs() < 1e-9, "{idle}");
    }
}
