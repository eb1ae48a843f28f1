//! The entropy service: random bytes from a source, no faster than a limit allows.
//!
//! It knows no device and no protocol. A device asks for bytes; if there are none it is told what
//! to wait for, and asks again then.
//!
//! A request is completed with as many bytes as [Linux can count](completion). What the source gave
//! beyond that is for the next request.

mod completion;
#[cfg(test)]
mod linux;
#[cfg(test)]
mod linux_tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vfio_user_kit::Waker;

use completion::Completions;

use crate::limiter::{Allowance, Limit, Limiter};
use crate::meter::Meter;
use crate::source::{Drawn, Source, SourceError, Supplier};

/// The most bytes of one answer, whatever a driver asks for: descriptors that overlap can ask for
/// gigabytes.
pub const MAX_BYTES: usize = 64 << 10;

/// The answer to a request for bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Supply {
    /// These, 1 or more.
    Bytes(Vec<u8>),
    /// None yet; the [waker](Entropy::waker) will be used when there are.
    WhenWoken,
    /// None yet; ask again after this time.
    After(Duration),
}

/// A source with its limit.
pub struct Entropy {
    supply: Arc<Mutex<LimitedSource>>,
    waker: Waker,
    meter: Arc<Meter>,
    completions: Completions,
    /// Memory for the next bytes: new memory would have to be cleared first.
    memory: Vec<u8>,
    /// How many bytes at its start were drawn and not given out yet.
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
    supply: Arc<Mutex<LimitedSource>>,
    waker: Waker,
}

impl EntropyControl {
    /// Opens a source that can take the present one's place.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self, source: &dyn Supplier) -> Result<Box<dyn Source>, SourceError> {
        source.open(self.waker.clone())
    }

    /// Sets another limit. What was taken before counts for the new one, too, and a request that
    /// waits is looked at again.
    pub fn set_limit(&self, limit: Option<Limit>) {
        let mut supply = lock(&self.supply);
        match (&mut supply.limiter, limit) {
            (Some(limiter), Some(limit)) => limiter.set_limit(limit),
            (limiter, limit) => *limiter = limit.map(Limiter::new),
        }
        drop(supply);
        self.waker.wake();
    }

    /// Takes bytes from another source from now on, also for a request that waits. Returns the one
    /// before, which can take a moment to close.
    pub fn set_source(&self, source: Box<dyn Source>) -> Box<dyn Source> {
        let mut supply = lock(&self.supply);
        let before = std::mem::replace(&mut supply.source, source);
        supply.changes += 1;
        drop(supply);
        self.waker.wake();
        before
    }
}

fn lock(supply: &Mutex<LimitedSource>) -> MutexGuard<'_, LimitedSource> {
    // Nothing in here panics half-way.
    supply.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entropy {
    /// A service that takes bytes from a source, which uses this waker.
    pub fn new(source: Box<dyn Source>, waker: Waker, limit: Option<Limit>) -> Self {
        let supply = LimitedSource { source, changes: 0, limiter: limit.map(Limiter::new) };
        Entropy::of(&EntropyControl { supply: Arc::new(Mutex::new(supply)), waker })
    }

    /// A service with the source and the limit that another one has, for a device that takes another
    /// one's place: what was taken before still counts.
    pub fn of(control: &EntropyControl) -> Self {
        let EntropyControl { supply, waker } = control.clone();
        Entropy {
            supply,
            waker,
            meter: Arc::default(),
            completions: Completions::default(),
            memory: Vec::new(),
            held: 0,
            held_of: 0,
        }
    }

    /// What changes its limit and source.
    pub fn control(&self) -> EntropyControl {
        EntropyControl { supply: Arc::clone(&self.supply), waker: self.waker.clone() }
    }

    /// Counts with this meter what is given out.
    pub fn counted_by(self, meter: Arc<Meter>) -> Self {
        Entropy { meter, ..self }
    }

    /// What is used when there is news after [`Supply::WhenWoken`], and when limit or source have
    /// changed.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Up to `wanted` bytes, at least 1 and at most [`MAX_BYTES`]. `clock` says what time it is; it
    /// is only looked at if there is a limit.
    pub fn take(&mut self, clock: impl FnOnce() -> Instant, wanted: u64) -> Supply {
        let supply = self.draw(clock, wanted.clamp(1, MAX_BYTES as u64));
        match &supply {
            Supply::Bytes(bytes) => self.meter.delivered(bytes.len() as u64),
            Supply::WhenWoken | Supply::After(_) => self.meter.set_waiting(true),
        }
        supply
    }

    fn draw(&mut self, clock: impl FnOnce() -> Instant, wanted: u64) -> Supply {
        let mut supply = lock(&self.supply);
        let LimitedSource { source, changes, limiter } = &mut *supply;
        if std::mem::replace(&mut self.held_of, *changes) != *changes {
            self.held = 0;
        }
        let mut limiter = limiter.as_mut().map(|limiter| (limiter, clock()));
        let allowed = match &mut limiter {
            None => wanted,
            Some((limiter, now)) => match limiter.allowance(*now, wanted) {
                Allowance::Bytes(allowed) => allowed,
                Allowance::From(then) => {
                    return Supply::After(then.saturating_duration_since(*now));
                }
            },
        };
        if self.held == 0 {
            let most = self.completions.most(wanted, allowed);
            self.memory.resize(usize::try_from(most).unwrap_or(MAX_BYTES), 0);
            match source.draw(&mut self.memory) {
                Drawn::WhenWoken => return Supply::WhenWoken,
                Drawn::After(time) => return Supply::After(time),
                Drawn::Bytes(drawn) => self.held = drawn.min(self.memory.len()),
            }
        }
        let bytes = self.completions.most(wanted, allowed.min(self.held as u64));
        self.completions.add(wanted, bytes);
        if let Some((limiter, now)) = limiter {
            limiter.spend(now, bytes);
        }
        drop(supply);
        Supply::Bytes(self.give(usize::try_from(bytes).unwrap_or(MAX_BYTES)))
    }

    /// Takes the first bytes of those that are held.
    fn give(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.memory);
        self.memory.extend_from_slice(&bytes[count..self.held]);
        self.held -= count;
        bytes.truncate(count);
        bytes
    }

    /// The request that waits is gone, and nobody will take the bytes for it.
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
