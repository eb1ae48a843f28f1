//! Sources that answer at once: a system call that does not block.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::trouble::Trouble;
use super::{Drawn, Source, SourceError};

/// How often a call that a signal interrupts is made again before the device is asked to come back.
const INTERRUPTIONS: usize = 16;

/// A source that is one system call.
pub(super) struct Immediate<R> {
    read: R,
    trouble: Trouble,
}

impl<R: FnMut(&mut [u8]) -> rustix::io::Result<usize> + Send> Immediate<R> {
    /// A source of that name that is read by `read`, which must not block.
    pub fn new(name: impl std::fmt::Display, read: R) -> Self {
        Immediate { read, trouble: Trouble::new(name) }
    }

    fn read(&mut self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        for _ in 0..INTERRUPTIONS {
            match (self.read)(buffer) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::INTR)
    }
}

impl<R: FnMut(&mut [u8]) -> rustix::io::Result<usize> + Send> Source for Immediate<R> {
    fn draw(&mut self, buffer: &mut [u8]) -> Drawn {
        match self.read(buffer) {
            Ok(0) => Drawn::After(self.trouble.failed("it has ended")),
            Ok(count) => {
                self.trouble.worked();
                Drawn::Bytes(count)
            }
            Err(errno) => Drawn::After(self.trouble.failed(errno)),
        }
    }
}

/// The operating system's own random bytes.
///
/// # Errors
/// What getrandom(2) says to a first, short request. That the system has no entropy yet, early at
/// boot, is no error.
pub(super) fn os_random() -> Result<impl Source, SourceError> {
    let read = |buffer: &mut [u8]| getrandom(buffer, GetRandomFlags::NONBLOCK);
    match read(&mut [0; 4]) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(Immediate::new("getrandom", read)),
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
        assert_eq!(source.draw(&mut one), Drawn::Bytes(200));
        assert_eq!(source.draw(&mut other), Drawn::Bytes(200));
        assert_ne!(one, other);
        assert_ne!(one, [0; 200]);
    }

    #[test]
    fn a_failure_is_tried_again_after_growing_pauses_and_then_forgotten() {
        let results =
            [Err(Errno::IO), Err(Errno::AGAIN), Ok(0), Err(Errno::INTR), Ok(3), Err(Errno::NODEV)];
        let mut results = results.into_iter();
        let mut source = Immediate::new("test", |_: &mut [u8]| results.next().unwrap());
        let drawn = [(); 5].map(|()| source.draw(&mut [0; 8]));
        let after = |ms| Drawn::After(std::time::Duration::from_millis(ms));
        assert_eq!(drawn, [after(10), after(20), after(40), Drawn::Bytes(3), after(10)]);
    }

    #[test]
    fn endless_interruptions_do_not_keep_the_device() {
        let mut source = Immediate::new("test", |_: &mut [u8]| Err(Errno::INTR));
        assert!(matches!(source.draw(&mut [0; 8]), Drawn::After(_)));
    }
}
