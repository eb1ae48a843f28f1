//! A timer that an event loop can wait for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timerfd, readable when its time has come.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// What timerfd_create(2) says, when descriptors run out.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Timer(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Lets it be readable once, after this time; an earlier setting is forgotten.
    pub fn set(&self, time: Duration) {
        // No time at all would unset it; longer than a timespec can say is for ever.
        let time = time.max(Duration::from_nanos(1));
        let forever = Timespec { tv_sec: i64::MAX, tv_nsec: 0 };
        let it_value = Timespec::try_from(time).unwrap_or(forever);
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval, it_value };
        // It only fails for what is no timer, or no time.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &setting);
    }

    /// Takes the event, if it has happened.
    pub fn take(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn readable(timer: &Timer, timeout: i64) -> bool {
        let mut fds = [PollFd::new(timer, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: timeout, tv_nsec: 0 })).unwrap() > 0
    }

    #[test]
    fn it_is_readable_once_after_its_time() {
        let timer = Timer::new().unwrap();
        assert!(!readable(&timer, 0), "it is not set");
        for time in [Duration::ZERO, Duration::from_millis(5)] {
            timer.set(time);
            assert!(readable(&timer, 30));
            timer.take();
            assert!(!readable(&timer, 0));
        }
    }

    #[test]
    fn a_new_time_takes_the_place_of_the_old_one() {
        let timer = Timer::new().unwrap();
        timer.set(Duration::ZERO);
        timer.set(Duration::MAX);
        assert!(!readable(&timer, 0));
    }
}
