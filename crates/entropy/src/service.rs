//! The entropy service: random bytes from a source, no faster than a limit allows.
//!
//! It knows no device and no protocol. A device takes bytes; if there are none, it learns what to wait
//! for before it takes again.
//!
//! A request is completed with as many bytes as [Linux can count](completion). Bytes beyond that are
//! for the next request.

mod completion;
#[cfg(test)]
mod linux;
#[cfg(test)]
mod linux_tests;
mod saved;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vfio_user_device::Waker;

pub use completion::Completions;
pub use saved::EntropyState;

use crate::health::HealthReport;
use crate::limiter::{Available, Limit, Limiter};
use crate::meter::Meter;
use crate::source::{ReadOutcome, Source, SourceError, SourceFactory};

/// The most bytes of one completion, whatever a driver asks for: descriptors that overlap can ask for
/// gigabytes.
pub const MAX_BYTES: usize = 64 << 10;

/// What a device gets for a request.
#[derive(Debug, PartialEq, Eq)]
pub enum TakeOutcome {
    /// These, 1 or more.
    Bytes(Vec<u8>),
    /// No bytes yet. The [waker](Entropy::waker) is used when there are.
    Pending,
    /// No bytes yet: take again after this time.
    RetryAfter(Duration),
}

/// A source with its limit.
pub struct Entropy {
    control: EntropyControl,
    meter: Arc<Meter>,
    completions: Completions,
    /// Memory for the next bytes: new memory would have to be cleared first.
    memory: Vec<u8>,
    /// How many bytes at its start were read and not given out yet.
    held: usize,
    /// Of which source they are.
    held_of: u64,
}

/// What an [`EntropyControl`] can change.
struct LimitedSource {
    source: Box<dyn Source>,
    /// How many sources there were before.
    changes: u64,
    limiter: Option<Limiter>,
}

/// Changes the limit and the source of an entropy service while a device uses it.
#[derive(Clone)]
pub struct EntropyControl {
    source: Arc<Mutex<LimitedSource>>,
    waker: Waker,
}

impl EntropyControl {
    /// Opens a source that can take the present one's place.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self, source: &dyn SourceFactory) -> Result<Box<dyn Source>, SourceError> {
        source.open(self.waker.clone())
    }

    /// What the health tests of its source have found, if it has any.
    pub fn health(&self) -> Option<HealthReport> {
        lock(&self.source).source.health()
    }

    /// Sets another limit. What was taken before counts for the new one, too, and a request that
    /// waits is looked at again.
    pub fn set_limit(&self, limit: Option<Limit>) {
        let mut limited = lock(&self.source);
        match (&mut limited.limiter, limit) {
            (Some(limiter), Some(limit)) => limiter.set_limit(limit),
            (limiter, limit) => *limiter = limit.map(Limiter::new),
        }
        drop(limited);
        self.waker.wake();
    }

    /// Takes bytes from another source from now on, also for a request that waits. Returns the one
    /// before, which can take a moment to close.
    pub fn set_source(&self, source: Box<dyn Source>) -> Box<dyn Source> {
        let mut limited = lock(&self.source);
        let before = std::mem::replace(&mut limited.source, source);
        limited.changes += 1;
        drop(limited);
        self.waker.wake();
        before
    }
}

fn lock(source: &Mutex<LimitedSource>) -> MutexGuard<'_, LimitedSource> {
    // Nothing in here panics half-way.
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entropy {
    /// A service that takes bytes from a source, which uses this waker.
    pub fn new(source: Box<dyn Source>, waker: Waker, limit: Option<Limit>) -> Self {
        let limited = LimitedSource { source, changes: 0, limiter: limit.map(Limiter::new) };
        Entropy::of(&EntropyControl { source: Arc::new(Mutex::new(limited)), waker })
    }

    /// A service with the source and the limit that another one has, for a device that takes another
    /// one's place: what was taken before still counts.
    pub fn of(control: &EntropyControl) -> Self {
        Entropy {
            control: control.clone(),
            meter: Arc::default(),
            completions: Completions::default(),
            memory: Vec::new(),
            held: 0,
            held_of: 0,
        }
    }

    /// What changes its limit and source.
    pub fn control(&self) -> EntropyControl {
        self.control.clone()
    }

    /// Counts with this meter what is given out.
    pub fn counted_by(self, meter: Arc<Meter>) -> Self {
        Entropy { meter, ..self }
    }

    /// What is used when there is news after [`TakeOutcome::Pending`], and when limit or source have
    /// changed.
    pub fn waker(&self) -> &Waker {
        &self.control.waker
    }

    /// Up to `wanted` bytes, at least 1 and at most [`MAX_BYTES`]. `clock` says what time it is; it
    /// is only looked at if there is a limit.
    pub fn take(&mut self, clock: impl FnOnce() -> Instant, wanted: u64) -> TakeOutcome {
        let outcome = self.read(clock, wanted.clamp(1, MAX_BYTES as u64));
        match &outcome {
            TakeOutcome::Bytes(bytes) => self.meter.delivered(bytes.len() as u64),
            TakeOutcome::Pending | TakeOutcome::RetryAfter(_) => self.meter.set_waiting(true),
        }
        outcome
    }

    fn read(&mut self, clock: impl FnOnce() -> Instant, wanted: u64) -> TakeOutcome {
        let mut limited = lock(&self.control.source);
        let LimitedSource { source, changes, limiter } = &mut *limited;
        if std::mem::replace(&mut self.held_of, *changes) != *changes {
            self.held = 0;
        }
        let mut limiter = limiter.as_mut().map(|limiter| (limiter, clock()));
        let allowed = match &mut limiter {
            None => wanted,
            Some((limiter, now)) => match limiter.available(*now, wanted) {
                Available::Bytes(allowed) => allowed,
                Available::From(then) => {
                    return TakeOutcome::RetryAfter(then.saturating_duration_since(*now));
                }
            },
        };
        if self.held == 0 {
            let most = self.completions.most(wanted, allowed);
            self.memory.resize(usize::try_from(most).unwrap_or(MAX_BYTES), 0);
            match source.read(&mut self.memory) {
                ReadOutcome::Pending => return TakeOutcome::Pending,
                ReadOutcome::RetryAfter(time) => return TakeOutcome::RetryAfter(time),
                ReadOutcome::Bytes(count) => self.held = count.min(self.memory.len()),
            }
        }
        let bytes = self.completions.most(wanted, allowed.min(self.held as u64));
        self.completions.add(wanted, bytes);
        if let Some((limiter, now)) = limiter {
            limiter.spend(now, bytes);
        }
        drop(limited);
        TakeOutcome::Bytes(self.give(usize::try_from(bytes).unwrap_or(MAX_BYTES)))
    }

    /// Takes the first bytes of those that are held.
    fn give(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.memory);
        self.memory.extend_from_slice(&bytes[count..self.held]);
        self.held -= count;
        bytes.truncate(count);
        bytes
    }

    /// The pending request is gone: the device does not take bytes for it any more.
    pub fn forget_request(&self) {
        self.meter.set_waiting(false);
    }

    /// Takes memory back that bytes were in.
    pub fn reuse(&mut self, memory: Vec<u8>) {
        if self.held == 0 {
            self.memory = memory;
        }
    }
}

#[cfg(test)]
mod tests;
