//! Retry backoff of a source: when to try it again after a failure, and what the log says.
//!
//! The delay doubles with each failure in a row. The log has the first failure of a row, and the
//! success that ends it.

use std::fmt;
use std::time::Duration;

/// The delay after the first failure. Each one in a row doubles it.
const MIN_DELAY: Duration = Duration::from_millis(10);
/// The longest delay.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// How long a source may have nothing before the log says so.
const WARN_TIMEOUT: Duration = Duration::from_secs(1);

/// The failures of one source in a row.
#[derive(Debug)]
pub(super) struct RetryBackoff {
    /// The source's name in the log.
    name: String,
    failing: bool,
    delay: Duration,
}

impl RetryBackoff {
    /// A source that has not failed yet.
    pub fn new(name: impl fmt::Display) -> Self {
        RetryBackoff { name: name.to_string(), failing: false, delay: MIN_DELAY }
    }

    /// The source's name in the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source has nothing, for that reason. The log says so once in a row.
    pub fn warn(&mut self, reason: impl fmt::Display) {
        if self.begins() {
            log::warn!("no bytes from {}: {reason}; requests stay pending", self.name);
        }
    }

    /// How long to wait for a source that has nothing before the log [says so](RetryBackoff::warn);
    /// without an end if it has.
    pub fn warn_timeout(&self) -> Option<Duration> {
        (!self.failing).then_some(WARN_TIMEOUT)
    }

    /// The source failed. Returns the delay until the next attempt.
    pub fn failed(&mut self, reason: impl fmt::Display) -> Duration {
        self.warn(reason);
        let delay = self.delay;
        self.delay = (2 * delay).min(MAX_DELAY);
        delay
    }

    /// The source gave bytes.
    pub fn succeeded(&mut self) {
        if self.ends() {
            log::info!("{} gives bytes again", self.name);
        }
        self.delay = MIN_DELAY;
    }

    /// Notes a failure. Returns whether it is the first in a row.
    fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.failing, true)
    }

    /// Notes a success. Returns whether it ends a row of failures.
    fn ends(&mut self) -> bool {
        std::mem::take(&mut self.failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_of_failures_is_logged_at_its_start_and_end() {
        let mut backoff = RetryBackoff::new("test");
        assert!(!backoff.ends(), "it has not begun");
        assert_eq!([(); 4].map(|()| backoff.begins()), [true, false, false, false]);
        assert_eq!([(); 3].map(|()| backoff.ends()), [true, false, false]);
        assert!(backoff.begins(), "a new row");
    }

    #[test]
    fn warning_is_due_once_in_a_row() {
        let mut backoff = RetryBackoff::new("test");
        assert_eq!(backoff.warn_timeout(), Some(WARN_TIMEOUT));
        backoff.warn("it has nothing");
        assert_eq!(backoff.warn_timeout(), None);
        backoff.succeeded();
        assert_eq!(backoff.warn_timeout(), Some(WARN_TIMEOUT));
    }

    #[test]
    fn delay_doubles_up_to_five_seconds_until_success() {
        let mut backoff = RetryBackoff::new("test");
        let delays = [(); 12].map(|()| backoff.failed("reason").as_millis());
        assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000, 5000]);
        backoff.succeeded();
        assert_eq!(backoff.failed("reason").as_millis(), 10);
    }
}
