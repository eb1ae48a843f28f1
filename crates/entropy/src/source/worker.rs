//! A source that a thread reads for the device.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use vfio_user_device::Waker;

use super::mailbox::{Closed, Mailbox};
use super::{ReadOutcome, Source, SourcePosition};
use crate::sandbox::SOURCE;

/// How long the thread may take to end. It takes no time, unless the kernel has it in a read or in
/// the resolution of a name that nothing interrupts.
const JOIN_TIMEOUT: Duration = Duration::from_millis(100);

/// A thread, and the mailbox between it and the device. Dropping it ends the thread.
pub(super) struct Worker {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
    /// Disconnected when the thread has ended and has closed its descriptors.
    end: Receiver<Infallible>,
}

impl Worker {
    /// Runs `work` on a thread of its own until the mailbox that it is given is closed.
    ///
    /// # Errors
    /// Threads or descriptors ran out.
    pub fn start(
        waker: Waker,
        work: impl FnOnce(&Mailbox) -> Result<Infallible, Closed> + Send + 'static,
    ) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::new(waker)?);
        let (ended, end) = channel();
        let threads_own = Arc::clone(&mailbox);
        let thread = thread::Builder::new().name("source".into()).spawn(move || {
            SOURCE.enter();
            let Err(Closed) = work(&threads_own);
            drop(threads_own);
            drop(ended);
        })?;
        Ok(Worker { mailbox, thread: Some(thread), end })
    }
}

impl Source for Worker {
    fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        self.mailbox.take(buffer).map_or(ReadOutcome::Pending, ReadOutcome::Bytes)
    }

    fn position(&self) -> Option<SourcePosition> {
        self.mailbox.position()
    }

    fn set_position(&mut self, position: SourcePosition) {
        self.mailbox.go_on_from(position);
    }

    fn unread(&self) -> Vec<u8> {
        self.mailbox.unread()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.mailbox.close();
        if let Err(RecvTimeoutError::Timeout) = self.end.recv_timeout(JOIN_TIMEOUT) {
            log::info!("the thread of a source is left behind in a read that does not end");
        } else if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread of a source panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::source::testing::{read, read_exactly};

    /// Answers each request with at most `most` of the numbers 0, 1, 2...
    fn counting(most: usize) -> (Worker, Waker) {
        let waker = Waker::new().unwrap();
        let worker = Worker::start(waker.clone(), move |mailbox| {
            let mut numbers = (0..=u8::MAX).cycle();
            loop {
                let count = mailbox.next_request()?.min(most);
                mailbox.deliver(&numbers.by_ref().take(count).collect::<Vec<_>>());
            }
        });
        (worker.unwrap(), waker)
    }

    #[test]
    fn short_answers_are_given_out_as_they_are() {
        let (mut worker, waker) = counting(3);
        assert_eq!(read(&mut worker, &waker, 10), [0, 1, 2]);
        assert_eq!(read(&mut worker, &waker, 2), [3, 4]);
        assert_eq!(read_exactly(&mut worker, &waker, 5), [5, 6, 7, 8, 9]);
    }

    #[test]
    fn an_answer_that_was_forgotten_is_for_the_next_request() {
        let (mut worker, waker) = counting(100);
        assert_eq!(worker.read(&mut [0; 10]), ReadOutcome::Pending);
        // The device was reset, and now asks for less.
        assert_eq!(read_exactly(&mut worker, &waker, 4), [0, 1, 2, 3]);
        assert_eq!(read_exactly(&mut worker, &waker, 8), [4, 5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn dropping_it_ends_the_thread() {
        let alive = Arc::new(());
        let threads_own = Arc::clone(&alive);
        let worker = Worker::start(Waker::new().unwrap(), move |mailbox| {
            let _alive = threads_own;
            loop {
                mailbox.next_request()?;
            }
        });
        drop(worker.unwrap());
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_thread_that_does_not_end_is_left_behind() {
        let (release, stuck) = channel::<Infallible>();
        let worker = Worker::start(Waker::new().unwrap(), move |_| {
            let _ = stuck.recv();
            Err(Closed)
        });
        let start = Instant::now();
        drop(worker.unwrap());
        assert!(start.elapsed() < Duration::from_secs(5));
        drop(release);
    }
}
