//! How often something may happen: what one client does in a loop must not cost the others.

use std::time::{Duration, Instant};

/// Lets something happen so many times in each window of time.
#[derive(Debug)]
pub(super) struct AcceptLimiter {
    limit: u32,
    window: Duration,
    began: Instant,
    count: u32,
}

impl AcceptLimiter {
    pub fn new(limit: u32, window: Duration) -> Self {
        AcceptLimiter { limit, window, began: Instant::now(), count: 0 }
    }

    /// Counts one more.
    ///
    /// # Errors
    /// It is one too many: when the next one is free.
    pub fn try_accept(&mut self, now: Instant) -> Result<(), Instant> {
        if now.saturating_duration_since(self.began) >= self.window {
            self.began = now;
            self.count = 0;
        }
        if self.count >= self.limit {
            return Err(self.began + self.window);
        }
        self.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_often_waits_for_the_next_window() {
        let mut limiter = AcceptLimiter::new(2, Duration::from_secs(1));
        let start = limiter.began;
        let half = start + Duration::from_millis(500);
        assert_eq!([limiter.try_accept(start), limiter.try_accept(half)], [Ok(()), Ok(())]);
        let next = limiter.try_accept(half).unwrap_err();
        assert_eq!(next, start + Duration::from_secs(1));
        assert_eq!(limiter.try_accept(next), Ok(()));
    }
}
