//! A token bucket in whole numbers: nothing is lost in a long run.

use super::fine_time::SECOND;

/// A token bucket: in every stretch of time, what is taken out is no more than its rate makes in it
/// and the depth.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    /// Bytes per second.
    rate: u64,
    /// Bytes.
    depth: u64,
    /// Its level in byte-nanoseconds per second: 10⁹ of them are one byte. It is below zero if more was
    /// taken out than there was.
    level: i128,
    /// When that was so, in nanoseconds.
    at: u64,
}

/// A byte in the units of a bucket's level.
const BYTE: i128 = SECOND as i128;

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(rate: u64, depth: u64, now: u64) -> Self {
        TokenBucket { rate, depth, level: i128::from(depth) * BYTE, at: now }
    }

    /// Takes bytes out, also if that leaves it below zero.
    pub(super) fn take(&mut self, bytes: u64, now: u64) {
        self.refill(now);
        self.level = self.level.saturating_sub(i128::from(bytes) * BYTE);
    }

    /// When it has so many bytes, which are no more than its depth: now, or later.
    pub(super) fn when(&mut self, bytes: u64, now: u64) -> u64 {
        self.refill(now);
        let missing = i128::from(bytes) * BYTE - self.level;
        match u128::try_from(missing) {
            Ok(missing) => {
                let wait = missing.div_ceil(u128::from(self.rate.max(1)));
                now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
            }
            Err(_) => now,
        }
    }

    /// Changes rate and depth. Bytes that the new depth does not hold are lost.
    pub(super) fn change(&mut self, rate: u64, depth: u64, now: u64) {
        self.refill(now);
        (self.rate, self.depth) = (rate, depth);
        self.refill(now);
    }

    fn refill(&mut self, now: u64) {
        let new = i128::from(self.rate) * i128::from(now.saturating_sub(self.at));
        self.level = self.level.saturating_add(new).min(i128::from(self.depth) * BYTE);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_bucket_gives_its_depth_at_once_and_then_its_rate() {
        let mut bucket = TokenBucket::new(1000, 64, 0);
        assert_eq!(bucket.when(64, 0), 0);
        bucket.take(64, 0);
        assert_eq!(bucket.when(1, 0), 1_000_000);
        assert_eq!(bucket.when(10, 0), 10_000_000);
        assert_eq!(bucket.when(10, 10_000_000), 10_000_000);
        assert_eq!(bucket.when(64, 3600 * SECOND), 3600 * SECOND);
        assert_eq!(bucket.when(65, 3600 * SECOND), 3600 * SECOND + 1_000_000);
    }

    #[test]
    fn bytes_taken_in_excess_delay_the_next() {
        let mut bucket = TokenBucket::new(1000, 10, 0);
        bucket.take(1010, 0);
        assert_eq!(bucket.when(1, 0), SECOND + 1_000_000);
    }

    #[test]
    fn rate_that_no_nanosecond_divides_loses_nothing_in_a_year() {
        let year = 365 * 24 * 3600;
        let mut bucket = TokenBucket::new(7, 7000, 0);
        let (mut now, mut taken) = (0, 0);
        while now < year * SECOND {
            bucket.take(1234, now);
            taken += 1234;
            now = bucket.when(1234, now);
        }
        assert!(taken <= 7 * year + 7000 + 1234, "{taken}");
        assert!(taken >= 7 * year, "{taken}");
    }

    #[test]
    fn smaller_depth_drops_the_excess() {
        let mut bucket = TokenBucket::new(1000, 64, 0);
        bucket.change(100, 10, 0);
        bucket.take(10, 0);
        assert_eq!(bucket.when(1, 0), 10_000_000);
    }
}
