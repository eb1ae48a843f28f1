//! How something outside of the guest tells a device that it has news for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::eventfd::EventFd;

/// Wakes a device from another thread: a thread that reads a slow file, say, and has got bytes.
///
/// The device makes one, gives a copy to the thread, and waits with
/// [`Bus::wait_for`](crate::Bus::wait_for); [`Device::on_wake`](crate::Device::on_wake) is where the
/// wait ends. A wake-up that comes before the wait is not lost.
#[derive(Clone, Debug)]
pub struct Waker(EventFd);

impl Waker {
    /// A waker without a wake-up.
    ///
    /// # Errors
    /// What eventfd(2) says, when descriptors run out.
    pub fn new() -> io::Result<Self> {
        Ok(Waker(EventFd::new()?))
    }

    /// Wakes the device if it waits, or as soon as it does.
    pub fn wake(&self) {
        // It is open and its counter cannot overflow: there is nothing that could fail.
        let _ = self.0.signal();
    }

    /// Takes the wake-ups so far, as the kit does before [`Device::on_wake`](crate::Device::on_wake);
    /// for code that waits for its descriptor itself. Returns whether there were any.
    pub fn take(&self) -> bool {
        self.0.take()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_ups_are_kept_until_they_are_taken() {
        let waker = Waker::new().unwrap();
        assert!(!waker.take());
        waker.clone().wake();
        waker.wake();
        assert!(waker.take());
        assert!(!waker.take());
    }
}
