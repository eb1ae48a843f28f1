//! Non-blocking sources: one system call that returns at once.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::retry_backoff::RetryBackoff;
use super::{ReadOutcome, Source, SourceError};

/// How often a call that a signal interrupts is made again before the device has to retry.
const INTERRUPTIONS: usize = 16;

/// A source that is one system call.
pub(super) struct NonBlocking<R> {
    read: R,
    backoff: RetryBackoff,
}

impl<R: FnMut(&mut [u8]) -> rustix::io::Result<usize> + Send> NonBlocking<R> {
    /// A source of that name that is read by `read`, which must not block.
    pub fn new(name: impl std::fmt::Display, read: R) -> Self {
        NonBlocking { read, backoff: RetryBackoff::new(name) }
    }

    fn call(&mut self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        for _ in 0..INTERRUPTIONS {
            match (self.read)(buffer) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::INTR)
    }
}

impl<R: FnMut(&mut [u8]) -> rustix::io::Result<usize> + Send> Source for NonBlocking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        match self.call(buffer) {
            Ok(0) => ReadOutcome::RetryAfter(self.backoff.failed("it has ended")),
            Ok(count) => {
                self.backoff.succeeded();
                ReadOutcome::Bytes(count)
            }
            Err(errno) => ReadOutcome::RetryAfter(self.backoff.failed(errno)),
        }
    }
}

/// The operating system's own random bytes.
///
/// # Errors
/// What getrandom(2) says to a first, short request. That the system has no entropy yet, early at
/// boot, is not an error.
pub(super) fn os_random() -> Result<impl Source, SourceError> {
    let read = |buffer: &mut [u8]| getrandom(buffer, GetRandomFlags::NONBLOCK);
    match read(&mut [0; 4]) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(NonBlocking::new("getrandom", read)),
        Err(errno) => Err(SourceError::Getrandom(io::Error::from(errno))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operating_system_fills_the_whole_buffer_with_new_bytes() {
        let mut source = os_random().unwrap();
        let (mut one, mut other) = ([0; 200], [0; 200]);
        assert_eq!(source.read(&mut one), ReadOutcome::Bytes(200));
        assert_eq!(source.read(&mut other), ReadOutcome::Bytes(200));
        assert_ne!(one, other);
        assert_ne!(one, [0; 200]);
    }

    #[test]
    fn failures_are_retried_with_backoff_until_success() {
        let results =
            [Err(Errno::IO), Err(Errno::AGAIN), Ok(0), Err(Errno::INTR), Ok(3), Err(Errno::NODEV)];
        let mut results = results.into_iter();
        let mut source = NonBlocking::new("test", |_: &mut [u8]| results.next().unwrap());
        let outcomes = [(); 5].map(|()| source.read(&mut [0; 8]));
        let after = |ms| ReadOutcome::RetryAfter(std::time::Duration::from_millis(ms));
        assert_eq!(outcomes, [after(10), after(20), after(40), ReadOutcome::Bytes(3), after(10)]);
    }

    #[test]
    fn endless_interruptions_do_not_block_the_device() {
        let mut source = NonBlocking::new("test", |_: &mut [u8]| Err(Errno::INTR));
        assert!(matches!(source.read(&mut [0; 8]), ReadOutcome::RetryAfter(_)));
    }
}
