//! Timing of single calls: register reads over the socket, ioctls in a guest.

use std::time::{Duration, Instant};

/// How long each of many calls took, sorted.
#[derive(Debug)]
pub struct Latency(Vec<Duration>);

impl Latency {
    /// Times `count` calls one by one.
    ///
    /// # Errors
    /// That of the first call that fails.
    pub fn of<E>(count: usize, mut call: impl FnMut() -> Result<(), E>) -> Result<Self, E> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            call()?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Ok(Self(times))
    }

    /// The number of calls.
    pub fn calls(&self) -> usize {
        self.0.len()
    }

    /// The time that so many percent of the calls did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1);
        self.0.iter().sum::<Duration>() / count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let latency = Latency((1..=100).map(Duration::from_nanos).collect());
        assert_eq!(latency.percentile(50), Duration::from_nanos(50));
        assert_eq!(latency.percentile(99), Duration::from_nanos(99));
    }

    #[test]
    fn the_mean_counts_every_call() {
        let latency = Latency([1, 2, 9].map(Duration::from_nanos).to_vec());
        assert_eq!(latency.mean(), Duration::from_nanos(4));
    }

    #[test]
    fn nothing_measured_is_zero() {
        assert_eq!(Latency(Vec::new()).percentile(99), Duration::ZERO);
        assert_eq!(Latency(Vec::new()).mean(), Duration::ZERO);
    }
}
