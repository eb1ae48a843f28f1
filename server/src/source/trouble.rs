//! A source that fails: when to try again, and what to tell the log.
//!
//! Attempts that fail in a row are spaced out, and only the first is in the log. So is the one that
//! ends the row.

use std::fmt;
use std::time::Duration;

/// The wait after the first failure. Each one in a row doubles it.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a source may take before the log hears of it.
const UNHEARD_PAUSE: Duration = Duration::from_secs(1);

/// The failures of one source in a row.
#[derive(Debug)]
pub(super) struct Trouble {
    /// The source's name in the log.
    name: String,
    failing: bool,
    pause: Duration,
}

impl Trouble {
    /// A source that has not failed yet.
    pub fn new(name: impl fmt::Display) -> Self {
        Trouble { name: name.to_string(), failing: false, pause: SHORTEST_PAUSE }
    }

    /// The source's name in the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The source has nothing, for that reason.
    pub fn note(&mut self, reason: impl fmt::Display) {
        if self.begins() {
            log::warn!("no bytes from {}: {reason}; requests wait", self.name);
        }
    }

    /// How long to wait for a source that has nothing before this is [noted](Trouble::note); for
    /// ever if it was.
    pub fn patience(&self) -> Option<Duration> {
        (!self.failing).then_some(UNHEARD_PAUSE)
    }

    /// The source failed. Returns how long to leave it alone.
    pub fn failed(&mut self, reason: impl fmt::Display) -> Duration {
        self.note(reason);
        let pause = self.pause;
        self.pause = (2 * pause).min(LONGEST_PAUSE);
        pause
    }

    /// The source gave bytes.
    pub fn worked(&mut self) {
        if self.ends() {
            log::info!("{} gives bytes again", self.name);
        }
        self.pause = SHORTEST_PAUSE;
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
    fn a_row_of_failures_begins_once_and_ends_once() {
        let mut trouble = Trouble::new("test");
        assert!(!trouble.ends(), "it has not begun");
        assert_eq!([(); 4].map(|()| trouble.begins()), [true, false, false, false]);
        assert_eq!([(); 3].map(|()| trouble.ends()), [true, false, false]);
        assert!(trouble.begins(), "a new row");
    }

    #[test]
    fn patience_ends_once() {
        let mut trouble = Trouble::new("test");
        assert_eq!(trouble.patience(), Some(UNHEARD_PAUSE));
        trouble.note("it has nothing");
        assert_eq!(trouble.patience(), None);
        trouble.worked();
        assert_eq!(trouble.patience(), Some(UNHEARD_PAUSE));
    }

    #[test]
    fn pauses_double_up_to_five_seconds_until_it_works() {
        let mut trouble = Trouble::new("test");
        let pauses = [(); 12].map(|()| trouble.failed("reason").as_millis());
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000, 5000]);
        trouble.worked();
        assert_eq!(trouble.failed("reason").as_millis(), 10);
    }
}
