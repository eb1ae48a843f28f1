//! Timing of single calls.

use anyhow::Result;
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// How long each of many calls took, sorted.
#[derive(Debug)]
pub struct Latency(Vec<Duration>);

impl Latency {
    /// Times `count` calls one by one.
    pub fn of(count: usize, mut call: impl FnMut() -> Result<()>) -> Result<Self> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            call()?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Ok(Self(times))
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

    /// For the report.
    pub fn measurements(&self) -> Map<String, Value> {
        let entry = |percent| {
            let nanoseconds = u64::try_from(self.percentile(percent).as_nanos());
            (format!("p{percent}_ns"), nanoseconds.unwrap_or(u64::MAX).into())
        };
        let mut data: Map<_, _> = [50, 99].map(entry).into_iter().collect();
        data.insert("calls".into(), self.0.len().into());
        data
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
