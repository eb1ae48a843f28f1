//! An entropy service as a value: what was read and not given out yet, what the limit has counted,
//! and where a seeded source is.

use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::completion::Completions;
use super::{Entropy, lock};
use crate::limiter::LimiterState;
use crate::source::SourcePosition;

/// What a service that takes another one's place goes on from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntropyState {
    /// Bytes that were read and not given out yet.
    held: Vec<u8>,
    completions: Completions,
    /// When this was: it can be a while before another service goes on.
    saved: SystemTime,
    limiter: Option<LimiterState>,
    /// How far the source was read.
    source_position: Option<SourcePosition>,
}

impl Entropy {
    /// Saves it.
    pub fn save(&self, now: Instant) -> EntropyState {
        let limited = lock(&self.control.source);
        let held = if self.held_of == limited.changes { self.held } else { 0 };
        EntropyState {
            held: [self.memory.get(..held).unwrap_or_default(), &limited.source.unread()].concat(),
            completions: self.completions.clone(),
            saved: SystemTime::now(),
            limiter: limited.limiter.as_ref().map(|limiter| limiter.save(now)),
            source_position: limited.source.position(),
        }
    }

    /// Goes on from another service's state, with this one's source and limit.
    pub fn restore(&mut self, state: EntropyState, now: Instant) {
        let mut limited = lock(&self.control.source);
        if let Some(position) = state.source_position {
            limited.source.set_position(position);
        }
        if let (Some(limiter), Some(saved)) = (&mut limited.limiter, &state.limiter) {
            let passed = state.saved.elapsed().unwrap_or_default();
            limiter.restore(saved, now.checked_sub(passed).unwrap_or(now));
        }
        self.held_of = limited.changes;
        drop(limited);
        self.held = state.held.len();
        self.memory = state.held;
        self.completions = state.completions;
    }

    /// What the driver was given, for a service at another host. Bytes, limit and source are this
    /// host's, and stay: a value that is used twice leads to other bytes each time.
    pub fn completions(&self) -> Completions {
        self.completions.clone()
    }

    /// Goes on with a driver that was given this.
    pub fn set_completions(&mut self, completions: Completions) {
        self.completions = completions;
    }
}
