//! Bytes and time at a rate, in whole numbers: nothing is lost in a long run.

/// Nanoseconds of a second.
pub(super) const SECOND: u64 = 1_000_000_000;

/// Fine time has so many binary places behind the nanosecond: at high rates, a few bytes are less
/// than one.
const FINE_PLACES: u32 = 32;

/// Nanoseconds as fine time.
pub(super) fn fine(nanoseconds: u64) -> u128 {
    u128::from(nanoseconds) << FINE_PLACES
}

/// How long so many bytes take at a rate (bytes per second, not 0), in fine time.
pub(super) fn time_for(bytes: u64, rate: u64) -> u128 {
    ((u128::from(bytes) * u128::from(SECOND)) << FINE_PLACES) / u128::from(rate.max(1))
}

/// A token bucket: in every stretch of time, what is taken out is no more than its rate makes in it
/// and the depth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Bytes per second.
    rate: u64,
    /// Bytes.
    depth: u64,
    /// What is in it, in byte-nanoseconds per second: 10⁹ of them are one byte. Below zero, if more
    /// was taken out than there was.
    level: i128,
    /// When that was so, in nanoseconds.
    at: u64,
}

/// A byte in the units of a bucket's level.
const BYTE: i128 = SECOND as i128;

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: u64, depth: u64, now: u64) -> Self {
        Bucket { rate, depth, level: i128::from(depth) * BYTE, at: now }
    }

    /// Takes out what somebody got.
    pub(super) fn take(&mut self, bytes: u64, now: u64) {
        self.refill(now);
        self.level = self.level.saturating_sub(i128::from(bytes) * BYTE);
    }

    /// When so many bytes, no more than the depth, are in it: now, or later.
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

    /// Goes on at another rate, with what is in it as far as it holds that.
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
    fn a_full_bucket_gives_its_depth_at_once_and_then_its_rate() {
        let mut bucket = Bucket::new(1000, 64, 0);
        assert_eq!(bucket.when(64, 0), 0);
        bucket.take(64, 0);
        assert_eq!(bucket.when(1, 0), 1_000_000);
        assert_eq!(bucket.when(10, 0), 10_000_000);
        assert_eq!(bucket.when(10, 10_000_000), 10_000_000);
        assert_eq!(bucket.when(64, 3600 * SECOND), 3600 * SECOND);
        assert_eq!(bucket.when(65, 3600 * SECOND), 3600 * SECOND + 1_000_000);
    }

    #[test]
    fn what_was_taken_too_much_is_paid_back() {
        let mut bucket = Bucket::new(1000, 10, 0);
        bucket.take(1010, 0);
        assert_eq!(bucket.when(1, 0), SECOND + 1_000_000);
    }

    #[test]
    fn a_rate_that_no_nanosecond_divides_loses_nothing_in_a_year() {
        let year = 365 * 24 * 3600;
        let mut bucket = Bucket::new(7, 7000, 0);
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
    fn another_depth_keeps_no_more_than_it_holds() {
        let mut bucket = Bucket::new(1000, 64, 0);
        bucket.change(100, 10, 0);
        bucket.take(10, 0);
        assert_eq!(bucket.when(1, 0), 10_000_000);
    }

    #[test]
    fn fine_time_tells_a_byte_of_the_highest_rates() {
        let tebibytes = 1 << 40;
        assert_eq!(time_for(tebibytes, tebibytes), fine(SECOND));
        let sum: u128 = (0..1024).map(|_| time_for(1, tebibytes)).sum();
        assert!(time_for(1024, tebibytes).abs_diff(sum) <= 1024);
    }
}
