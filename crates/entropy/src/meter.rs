//! What a guest has had: counters that its device writes and any thread may read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counters of one guest. Each is right by itself; two of them need not be of the same moment.
#[derive(Debug, Default)]
pub struct Meter {
    bytes: AtomicU64,
    requests: AtomicU64,
    waiting: AtomicBool,
}

impl Meter {
    /// A request was answered with so many bytes.
    pub fn delivered(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.set_waiting(false);
    }

    /// Goes on counting from what another meter has counted.
    pub fn count_on(&self, bytes: u64, requests: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.requests.fetch_add(requests, Relaxed);
    }

    /// Whether a request waits for bytes now.
    pub fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Relaxed);
    }

    /// Random bytes that the guest was given so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Requests that were answered so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Whether a request waits for bytes.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Relaxed)
    }
}
