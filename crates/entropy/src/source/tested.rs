//! A source whose bytes pass the [health tests](crate::health).

use super::retry_backoff::RetryBackoff;
use super::{ReadOutcome, Source, SourcePosition};
use crate::health::{Alarm, HealthMode, HealthMonitor, HealthReport, START_UP_LEN};

/// A source and its tests.
pub(super) struct Tested {
    source: Box<dyn Source>,
    stops: bool,
    monitor: HealthMonitor,
    report: HealthReport,
    /// Bytes of the start-up test, which guests get when it is passed.
    held: Vec<u8>,
    backoff: RetryBackoff,
    /// Whether the log has an alarm after which no start-up test was passed.
    warned: bool,
    passed: usize,
}

impl Tested {
    /// Tests a source of that name.
    pub fn new(source: Box<dyn Source>, name: impl std::fmt::Display, mode: HealthMode) -> Self {
        let stops = mode == HealthMode::Stop;
        Tested {
            source,
            stops,
            monitor: HealthMonitor::default(),
            report: HealthReport { stopped: stops, ..HealthReport::default() },
            held: Vec::new(),
            backoff: RetryBackoff::new(name),
            warned: false,
            passed: 0,
        }
    }

    /// Tests bytes, all of them. Returns the first alarm.
    fn test(&mut self, bytes: &[u8]) -> Result<(), Alarm> {
        let mut first = Ok(());
        for byte in bytes {
            let Err(alarm) = self.monitor.test(*byte) else { continue };
            match alarm {
                Alarm::Repetition(_) => self.report.repetition_alarms += 1,
                Alarm::Byte(_) | Alarm::Bit(_) => self.report.proportion_alarms += 1,
            }
            first = first.and(Err(alarm));
        }
        self.report.bytes += bytes.len() as u64;
        first
    }

    /// Lets bytes through whatever the tests say. The log has the first alarm, and the next one after
    /// as many good bytes as a start-up test takes.
    fn read_and_warn(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        let outcome = self.source.read(buffer);
        let ReadOutcome::Bytes(count) = outcome else { return outcome };
        match self.test(buffer.get(..count).unwrap_or_default()) {
            Ok(()) => {
                self.passed = self.passed.saturating_add(count);
                self.warned &= self.passed < START_UP_LEN;
            }
            Err(alarm) => {
                self.passed = 0;
                if !std::mem::replace(&mut self.warned, true) {
                    let name = self.backoff.name();
                    log::warn!("{name}: {alarm}; guests get its bytes (--health stop keeps them)");
                }
            }
        }
        outcome
    }

    /// Nothing of what was read is given out, and the start-up test begins anew.
    fn stop(&mut self, alarm: Alarm) -> ReadOutcome {
        self.held.clear();
        self.monitor = HealthMonitor::default();
        self.report.stopped = true;
        ReadOutcome::RetryAfter(self.backoff.failed(alarm))
    }

    /// Reads until the start-up test is passed. Returns why it is not, yet.
    fn start_up(&mut self) -> Option<ReadOutcome> {
        while self.report.stopped {
            let mut bytes = vec![0; START_UP_LEN - self.held.len()];
            match self.source.read(&mut bytes) {
                ReadOutcome::Bytes(count) => bytes.truncate(count),
                none => return Some(none),
            }
            if let Err(alarm) = self.test(&bytes) {
                return Some(self.stop(alarm));
            }
            self.held.extend_from_slice(&bytes);
            if self.held.len() >= START_UP_LEN {
                self.report.stopped = false;
                self.backoff.succeeded();
            }
        }
        None
    }

    fn take_held(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        let count = buffer.len().min(self.held.len());
        let rest = self.held.split_off(count);
        let taken = std::mem::replace(&mut self.held, rest);
        buffer[..count].copy_from_slice(&taken);
        ReadOutcome::Bytes(count)
    }
}

impl Source for Tested {
    fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        if !self.stops {
            return self.read_and_warn(buffer);
        }
        if let Some(not_yet) = self.start_up() {
            return not_yet;
        }
        if !self.held.is_empty() {
            return self.take_held(buffer);
        }
        let outcome = self.source.read(buffer);
        let ReadOutcome::Bytes(count) = outcome else { return outcome };
        match self.test(buffer.get(..count).unwrap_or_default()) {
            Ok(()) => outcome,
            Err(alarm) => {
                buffer.fill(0);
                self.stop(alarm)
            }
        }
    }

    fn position(&self) -> Option<SourcePosition> {
        self.source.position()
    }

    fn set_position(&mut self, position: SourcePosition) {
        self.held.clear();
        self.source.set_position(position);
    }

    /// Bytes whose start-up test has not ended are not among them.
    fn unread(&self) -> Vec<u8> {
        let tested = if self.report.stopped { &[] } else { &self.held[..] };
        [tested, &self.source.unread()].concat()
    }

    fn health(&self) -> Option<HealthReport> {
        Some(self.report.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use my_rng_model::generator::{ChaCha20, Generator};

    use super::*;

    /// Gives what stands in it, and then nothing.
    struct Script(VecDeque<u8>);

    impl Source for Script {
        fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
            let count = buffer.len().min(self.0.len()).min(300);
            if count == 0 {
                return ReadOutcome::Pending;
            }
            for (place, byte) in buffer.iter_mut().zip(self.0.drain(..count)) {
                *place = byte;
            }
            ReadOutcome::Bytes(count)
        }
    }

    fn good(count: usize) -> Vec<u8> {
        let mut numbers = ChaCha20::from_seed(1);
        (0..count).map(|_| numbers.next_u32().to_le_bytes()[0]).collect()
    }

    fn tested(bytes: &[Vec<u8>], mode: HealthMode) -> Tested {
        Tested::new(Box::new(Script(bytes.concat().into())), "test", mode)
    }

    /// All that comes until there is nothing more, and how often it was to be retried.
    fn all(source: &mut Tested) -> (Vec<u8>, usize) {
        let (mut bytes, mut retries, mut buffer) = (Vec::new(), 0, [0; 100]);
        loop {
            match source.read(&mut buffer) {
                ReadOutcome::Bytes(count) => bytes.extend_from_slice(&buffer[..count]),
                ReadOutcome::RetryAfter(time) => {
                    assert!(time >= Duration::from_millis(10));
                    retries += 1;
                }
                ReadOutcome::Pending => return (bytes, retries),
            }
        }
    }

    #[test]
    fn bytes_of_a_good_source_all_come_once_and_in_order() {
        for mode in [HealthMode::Warn, HealthMode::Stop] {
            let mut source = tested(&[good(5000)], mode);
            assert_eq!(all(&mut source), (good(5000), 0), "{mode}");
            let report = source.health().unwrap();
            assert_eq!((report.bytes, report.stopped), (5000, false));
        }
    }

    #[test]
    fn a_source_that_has_not_passed_the_start_up_test_gives_nothing() {
        let mut source = tested(&[good(START_UP_LEN - 1)], HealthMode::Stop);
        assert_eq!(all(&mut source), (Vec::new(), 0));
        assert!(source.health().unwrap().stopped);
    }

    #[test]
    fn a_stuck_source_is_stopped_and_none_of_its_bytes_are_given_out() {
        let mut source = tested(&[vec![0; 4000]], HealthMode::Stop);
        let (bytes, retries) = all(&mut source);
        assert!(bytes.is_empty(), "{bytes:?}");
        assert!(retries > 0);
        let report = source.health().unwrap();
        assert!(report.stopped && report.repetition_alarms > 0, "{report:?}");
    }

    #[test]
    fn a_source_that_works_again_gives_bytes_after_the_start_up_test() {
        let parts = [good(2000), vec![0xff; 700], good(3000)];
        let mut source = tested(&parts, HealthMode::Stop);
        let (bytes, retries) = all(&mut source);
        assert!(retries > 0);
        assert!(bytes.windows(11).all(|window| window != [0xff; 11]));
        assert_eq!(bytes[..1900], good(1900));
        assert!(bytes.len() > 3000, "{}", bytes.len());
        assert!(!source.health().unwrap().stopped);
    }

    #[test]
    fn with_warn_the_bytes_are_given_out_and_counted() {
        let mut source = tested(&[vec![0; 1100]], HealthMode::Warn);
        assert_eq!(all(&mut source), (vec![0; 1100], 0));
        let report = source.health().unwrap();
        assert_eq!(report.repetition_alarms, 100);
        assert!(report.proportion_alarms > 10 && !report.stopped, "{report:?}");
    }
}
