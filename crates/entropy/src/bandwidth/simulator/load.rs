//! What guests want, and when.

use std::time::Duration;

use super::nanoseconds;
use my_rng_model::generator::{ChaCha20, Generator};

/// How a guest behaves.
#[derive(Clone, Debug)]
pub enum Load {
    /// It wants nothing.
    None,
    /// It always wants more: so many bytes at a time.
    Greedy {
        /// Bytes of a request.
        request: u64,
    },
    /// It is greedy in some stretches of time, from and until times of the simulator's clock, the
    /// earliest first.
    Scripted {
        /// Bytes of a request.
        request: u64,
        /// The stretches.
        stretches: Vec<(Duration, Duration)>,
    },
    /// It wants some bytes, then thinks before it wants more, as programs do.
    Thinking {
        /// Bytes of a request.
        request: u64,
        /// How long it thinks.
        think: Duration,
    },
    /// It is greedy for a while and idle for a while, each up to twice as long as it says, at random.
    OnOff {
        /// Bytes of a request.
        request: u64,
        /// How long it is greedy, in the mean.
        on: Duration,
        /// How long it is idle, in the mean.
        off: Duration,
        /// Of the random numbers.
        seed: u32,
    },
    /// So many bytes more are wanted at random times, whether the ones before have come or not.
    Random {
        /// Bytes of a request.
        request: u64,
        /// How long it is from one to the next, in the mean; up to twice as long.
        every: Duration,
        /// Of the random numbers.
        seed: u32,
    },
}

/// A guest that behaves like that.
pub(super) struct Guest {
    load: Load,
    dice: ChaCha20,
    /// Whether it is in a stretch in which it is greedy.
    on: bool,
    /// Which stretch of the script is next.
    stretch: usize,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guest").field("load", &self.load).field("on", &self.on).finish()
    }
}

impl Guest {
    pub(super) fn new(load: Load) -> Self {
        let seed = match &load {
            Load::OnOff { seed, .. } | Load::Random { seed, .. } => *seed,
            _ => 0,
        };
        Guest { load, dice: ChaCha20::from_seed(seed), on: false, stretch: 0 }
    }

    /// Its time has come, or it wants more at once. Returns how many bytes it wants now, of which so
    /// many are waiting, and when its time comes again.
    pub(super) fn wake(&mut self, now: u64, waiting: u64) -> (u64, Option<u64>) {
        match &self.load {
            Load::None => (0, None),
            Load::Greedy { request } | Load::Thinking { request, .. } => (*request, None),
            Load::Scripted { request, stretches } => {
                let Some((from, until)) = stretches.get(self.stretch) else { return (0, None) };
                let (request, from, until) = (*request, nanoseconds(*from), nanoseconds(*until));
                if now >= until {
                    self.stretch += 1;
                    self.on = false;
                    let next = stretches.get(self.stretch).map(|(from, _)| nanoseconds(*from));
                    return (0, next);
                }
                self.on = now >= from;
                if self.on { (request, Some(until)) } else { (0, Some(from)) }
            }
            Load::OnOff { request, on, off, .. } => {
                let (request, on, off) = (*request, *on, *off);
                self.on = !self.on;
                let next = now.saturating_add(self.about(if self.on { on } else { off }));
                (if self.on { request } else { 0 }, Some(next))
            }
            Load::Random { request, every, .. } => {
                let (request, every) = (*request, *every);
                (waiting.saturating_add(request), Some(now.saturating_add(self.about(every))))
            }
        }
    }

    /// It has what it wanted. Returns what it wants now, or when it is to be woken.
    pub(super) fn satisfied(&self, now: u64) -> After {
        match &self.load {
            Load::Greedy { request } => After::More(*request),
            Load::Scripted { request, .. } | Load::OnOff { request, .. } if self.on => {
                After::More(*request)
            }
            Load::Thinking { think, .. } => After::Wake(now.saturating_add(nanoseconds(*think))),
            _ => After::Nothing,
        }
    }

    /// A random time of this length in the mean, at least a nanosecond.
    fn about(&mut self, mean: Duration) -> u64 {
        let number = u128::from(self.dice.next_u32());
        let time = (number * 2 * u128::from(nanoseconds(mean))) >> 32;
        u64::try_from(time).unwrap_or(u64::MAX).max(1)
    }
}

/// What a guest does that has what it wanted.
pub(super) enum After {
    /// It wants so many bytes more, at once.
    More(u64),
    /// It waits until then.
    Wake(u64),
    /// It waits for what it waits for already.
    Nothing,
}
