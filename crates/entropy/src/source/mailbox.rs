//! The mailbox between a device and the worker thread that reads its source.
//!
//! The device's side takes bytes or leaves a request, and never blocks. The worker's side waits for
//! requests, and for its own descriptors, until the mailbox is closed: each wait is a poll(2) that
//! the device's side can end at once. [`Closed`] then ends the worker.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use vfio_user_device::Waker;

use super::SourcePosition;
use super::retry_backoff::RetryBackoff;

/// Most bytes in the mailbox, and so most that are asked for at once.
pub(super) const CAPACITY: usize = 64 * 1024;

/// The device has no use for the worker any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed;

/// Shared by a device's source and its worker.
#[derive(Debug)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    /// An eventfd that the device's side rings.
    bell: OwnedFd,
    /// Told when bytes have come.
    waker: Waker,
}

#[derive(Debug, Default)]
struct State {
    /// What has come and was not taken yet.
    bytes: VecDeque<u8>,
    /// What the device asks for; 0 while there are bytes.
    asked: usize,
    /// How far the worker has read.
    position: Option<SourcePosition>,
    /// Where the worker is to go on.
    go_on: Option<SourcePosition>,
    closed: bool,
}

impl Mailbox {
    /// An empty mailbox whose bytes are announced to that waker.
    ///
    /// # Errors
    /// What eventfd(2) says, when descriptors run out.
    pub fn new(waker: Waker) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Mailbox { state: Mutex::default(), bell, waker })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // It can only fail when it is full, which rings just as well.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// The device's side: takes bytes, or else asks for that many.
    pub fn take(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut state = self.state();
        if state.bytes.is_empty() {
            let asked = buffer.len().min(CAPACITY);
            if std::mem::replace(&mut state.asked, asked) != asked {
                self.ring();
            }
            return None;
        }
        let count = state.bytes.len().min(buffer.len());
        // There are so many, so it does not fail.
        state.bytes.read_exact(&mut buffer[..count]).ok().map(|()| count)
    }

    /// The device's side: a copy of what was not taken yet.
    pub fn unread(&self) -> Vec<u8> {
        self.state().bytes.iter().copied().collect()
    }

    /// The device's side: how far the worker has read.
    pub fn position(&self) -> Option<SourcePosition> {
        self.state().position
    }

    /// The device's side: where the worker is to go on, before it has read anything.
    pub fn go_on_from(&self, position: SourcePosition) {
        let mut state = self.state();
        (state.go_on, state.position) = (Some(position), Some(position));
    }

    /// The worker's side: where to go on. It is told once.
    pub fn take_go_on(&self) -> Option<SourcePosition> {
        self.state().go_on.take()
    }

    /// The device's side: ends the worker's waits, now and for ever.
    pub fn close(&self) {
        self.state().closed = true;
        self.ring();
    }

    /// The worker's side: how many bytes the device asks for; 0 if it does not ask.
    pub fn asked(&self) -> Result<usize, Closed> {
        let state = self.state();
        if state.closed { Err(Closed) } else { Ok(state.asked) }
    }

    /// The worker's side: waits until the device asks, and returns for how many bytes, 1 or more.
    pub fn next_request(&self) -> Result<usize, Closed> {
        loop {
            match self.asked()? {
                0 => self.wait(None, None)?,
                asked => return Ok(asked),
            };
        }
    }

    /// The worker's side: answers the request with these bytes, even if they are fewer.
    pub fn deliver(&self, bytes: &[u8]) {
        self.deliver_to(None, bytes);
    }

    /// The worker's side: the same, and says how far it has read by that.
    pub fn deliver_to(&self, position: Option<SourcePosition>, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.state();
        state.position = position;
        state.bytes.extend(bytes);
        state.asked = 0;
        drop(state);
        self.waker.wake();
    }

    /// The worker's side: waits for events of a descriptor, for a new request, or until the time
    /// is over. Returns the descriptor's events.
    pub fn wait(
        &self,
        on: Option<(BorrowedFd<'_>, PollFlags)>,
        timeout: Option<Duration>,
    ) -> Result<PollFlags, Closed> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let bell = PollFd::new(&self.bell, PollFlags::IN);
        let mut fds = [bell.clone(), bell];
        let mut used = 1;
        if let Some((fd, events)) = on {
            fds[1] = PollFd::from_borrowed_fd(fd, events);
            used = 2;
        }
        // What interrupts it makes the caller look at everything again, which is right.
        let polled = poll(&mut fds[..used], timeout.as_ref());
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        self.asked()?;
        Ok(if polled.is_ok() && used == 2 { fds[1].revents() } else { PollFlags::empty() })
    }

    /// The worker's side: waits for events of a descriptor on which an answer to the device is to
    /// come; the log says when none comes for long.
    pub fn wait_for_answer(
        &self,
        on: (BorrowedFd<'_>, PollFlags),
        backoff: &mut RetryBackoff,
    ) -> Result<PollFlags, Closed> {
        let (timeout, start) = (backoff.warn_timeout(), Instant::now());
        let ready = self.wait(Some(on), timeout)?;
        if ready.is_empty() && timeout.is_some_and(|timeout| start.elapsed() >= timeout) {
            backoff.warn("it has nothing at the moment");
        }
        Ok(ready)
    }

    /// The worker's side: does nothing for that time, whatever is asked meanwhile.
    pub fn pause(&self, time: Duration) -> Result<(), Closed> {
        let start = Instant::now();
        while let Some(rest) = time.checked_sub(start.elapsed()).filter(|rest| !rest.is_zero()) {
            self.wait(None, Some(rest))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::woken;

    fn mailbox() -> (Mailbox, Waker) {
        let waker = Waker::new().unwrap();
        (Mailbox::new(waker.clone()).unwrap(), waker)
    }

    #[test]
    fn a_request_is_heard_and_its_answer_announced() {
        let (mailbox, waker) = mailbox();
        assert_eq!(mailbox.asked().unwrap(), 0);
        assert_eq!(mailbox.take(&mut [0; 10]), None);
        assert_eq!(mailbox.next_request().unwrap(), 10);
        assert!(!woken(&waker));
        mailbox.deliver(&[1, 2, 3]);
        assert!(woken(&waker));
        assert_eq!(mailbox.asked().unwrap(), 0, "a short answer is an answer");
        let mut buffer = [0; 10];
        assert_eq!(mailbox.take(&mut buffer), Some(3));
        assert_eq!(buffer[..4], [1, 2, 3, 0]);
        assert_eq!(mailbox.take(&mut buffer), None);
    }

    #[test]
    fn bytes_not_taken_stay_in_order() {
        let (mailbox, _waker) = mailbox();
        let numbers: Vec<u8> = (0..100).collect();
        let mut taken: Vec<u8> = Vec::new();
        // Uneven sizes, so that the queue's ends meet anywhere.
        for piece in numbers.chunks(7) {
            mailbox.deliver(piece);
            let mut buffer = [0; 5];
            let count = mailbox.take(&mut buffer).unwrap();
            taken.extend(&buffer[..count]);
        }
        while taken.len() < numbers.len() {
            let mut buffer = [0; 64];
            let count = mailbox.take(&mut buffer).unwrap();
            taken.extend(&buffer[..count]);
        }
        assert_eq!(taken, numbers);
    }

    #[test]
    fn requests_are_bounded() {
        let (mailbox, _waker) = mailbox();
        mailbox.take(&mut vec![0; 10 * CAPACITY]);
        assert_eq!(mailbox.asked().unwrap(), CAPACITY);
    }

    #[test]
    fn a_closed_mailbox_ends_every_wait() {
        let (mailbox, _waker) = mailbox();
        std::thread::scope(|threads| {
            let waits = threads.spawn(|| mailbox.wait(None, None).is_err());
            let requests = threads.spawn(|| mailbox.next_request().is_err());
            let pause = threads.spawn(|| mailbox.pause(Duration::from_secs(3600)).is_err());
            // One bell wakes one of several waits; a real mailbox has one worker.
            while !(waits.is_finished() && requests.is_finished() && pause.is_finished()) {
                mailbox.close();
                std::thread::yield_now();
            }
            for thread in [waits, requests, pause] {
                assert!(thread.join().unwrap());
            }
        });
    }

    #[test]
    fn a_pause_is_not_shortened_by_requests() {
        let (mailbox, _waker) = mailbox();
        mailbox.take(&mut [0; 1]);
        let start = Instant::now();
        mailbox.pause(Duration::from_millis(30)).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(mailbox.next_request().unwrap(), 1, "the request is not lost by it");
    }
}
