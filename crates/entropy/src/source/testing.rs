//! The device's side in tests of sources: reads, and waits for wakers with a deadline.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vfio_user_device::Waker;

use super::{ReadOutcome, Source};

/// How long a test waits for what has to come.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// Whether the waker was used.
pub(super) fn woken(waker: &Waker) -> bool {
    rustix::io::read(waker, &mut [0; 8]).is_ok()
}

/// Waits for the waker; returns false if it was not used in that time.
pub(super) fn woken_within(waker: &Waker, time: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(waker.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::try_from(time).unwrap())).unwrap();
    woken(waker)
}

/// What one request for `size` bytes is answered with.
pub(super) fn read(source: &mut dyn Source, waker: &Waker, size: usize) -> Vec<u8> {
    let start = Instant::now();
    let mut buffer = vec![0; size];
    loop {
        match source.read(&mut buffer) {
            ReadOutcome::Bytes(count) => {
                buffer.truncate(count);
                return buffer;
            }
            ReadOutcome::Pending => {
                assert!(woken_within(waker, DEADLINE), "the waker was not used")
            }
            ReadOutcome::RetryAfter(pause) => {
                woken_within(waker, pause);
            }
        }
        assert!(start.elapsed() < DEADLINE, "no bytes");
    }
}

/// `size` bytes, in as many requests as it takes.
pub(super) fn read_exactly(source: &mut dyn Source, waker: &Waker, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < size {
        bytes.extend(read(source, waker, size - bytes.len()));
    }
    bytes
}

/// An address of this machine that no other test uses, and no outgoing connection either: a port
/// there stays free until the test takes it.
pub(super) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, NEXT.fetch_add(1, Ordering::Relaxed), high, low)
}

/// Waits until it is so.
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "{what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// `count` bytes in which any mix-up shows: no two stretches of four are the same.
pub(super) fn numbered(count: usize) -> Vec<u8> {
    (0_u32..).flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes()).take(count).collect()
}
