//! How something outside of the guest tells a device that it has news for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// Wakes a device from another thread: a thread that reads a slow file, say, and has got bytes.
///
/// The device makes one, gives a copy to the thread, and waits with
/// [`Bus::wait_for`](crate::Bus::wait_for); [`Device::woken`](crate::Device::woken) is where the
/// wait ends. A wake-up that comes before the wait is not lost.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A waker that nobody has used yet.
    ///
    /// # Errors
    /// What eventfd(2) says, when descriptors run out.
    pub fn new() -> io::Result<Self> {
        Ok(Waker(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Wakes the device if it waits, or as soon as it does.
    pub fn wake(&self) {
        // It can only fail when it is full, which wakes the device just as well.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes the wake-ups so far. Returns whether there were any.
    pub(crate) fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
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
