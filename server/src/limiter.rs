//! How fast a guest may take random bytes: at most so many in each period.
//!
//! The limit holds for every stretch of time that is one period long, whenever it starts: a guest
//! cannot take its share at the end of one period and again at the start of the next. So the
//! [`Limiter`] remembers when bytes were taken, and each byte counts for a whole period.
//!
//! A clock is not in here: every call says what time it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// One more than the most bytes a limit can have.
const MAX_BYTES_END: u64 = 1 << 63;

/// Length of a period of which nothing is said, as in QEMU and vhost-device-rng.
pub const DEFAULT_PERIOD: Duration = Duration::from_millis(65536);

/// Into how many parts a period is divided: what is taken within one part is remembered as one, so
/// that memory is bounded. Bytes count for up to one part longer than the period by that.
const PARTS: u32 = 256;

/// The shortest time there is: what was taken exactly a period ago counts still.
const TICK: Duration = Duration::from_nanos(1);

/// A limit that cannot be. The words are QEMU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Not a number of bytes that can be a limit.
    #[error("'max-bytes' parameter must be positive, and less than 2^63")]
    MaxBytes,
    /// Not a number at all.
    #[error("Parameter 'max-bytes' expects uint64")]
    MaxBytesType,
    /// A period without length.
    #[error("'period' parameter expects a positive integer")]
    Period,
    /// Not a number of milliseconds, or too many.
    #[error("Parameter 'period' expects uint32_t")]
    PeriodType,
}

/// At most so many bytes in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    max_bytes: u64,
    period: Duration,
}

impl Limit {
    /// At most `max_bytes` in each `period`.
    ///
    /// # Errors
    /// [`LimitError::MaxBytes`] unless it is from 1 to 2⁶³ - 1, [`LimitError::Period`] if it is 0,
    /// [`LimitError::PeriodType`] if it is longer than 2³² - 1 ms.
    pub fn new(max_bytes: u64, period: Duration) -> Result<Self, LimitError> {
        if !(1..MAX_BYTES_END).contains(&max_bytes) {
            return Err(LimitError::MaxBytes);
        }
        if period.is_zero() {
            return Err(LimitError::Period);
        }
        if period > Duration::from_millis(u32::MAX.into()) {
            return Err(LimitError::PeriodType);
        }
        Ok(Limit { max_bytes, period })
    }
}

/// Reads the most bytes of a limit, in decimal.
///
/// # Errors
/// [`LimitError::MaxBytes`], or [`LimitError::MaxBytesType`] for what is not a number.
pub fn parse_max_bytes(text: &str) -> Result<u64, LimitError> {
    if !is_integer(text) {
        return Err(LimitError::MaxBytesType);
    }
    // An integer that does not fit is negative or too large.
    text.parse()
        .ok()
        .filter(|max_bytes| (1..MAX_BYTES_END).contains(max_bytes))
        .ok_or(LimitError::MaxBytes)
}

/// Reads a period, in decimal milliseconds.
///
/// # Errors
/// [`LimitError::Period`] for 0, or [`LimitError::PeriodType`] for what is not a number of 32 bits.
pub fn parse_period(text: &str) -> Result<Duration, LimitError> {
    match text.parse::<u32>() {
        Ok(0) => Err(LimitError::Period),
        Ok(milliseconds) => Ok(Duration::from_millis(milliseconds.into())),
        Err(_) => Err(LimitError::PeriodType),
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a limiter allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// So many bytes, 1 or more.
    Bytes(u64),
    /// Nothing before then.
    From(Instant),
}

/// Bytes that were taken at about the same time.
#[derive(Clone, Copy, Debug)]
struct Taken {
    first: Instant,
    last: Instant,
    bytes: u64,
}

/// Enforces a [`Limit`].
#[derive(Clone, Debug)]
pub struct Limiter {
    limit: Limit,
    /// What counts still, the oldest first. No more than [`PARTS`] and a few.
    taken: VecDeque<Taken>,
    /// The sum of it.
    total: u64,
}

impl Limiter {
    /// A limiter of which nothing has been taken.
    pub fn new(limit: Limit) -> Self {
        Limiter { limit, taken: VecDeque::new(), total: 0 }
    }

    /// Sets another limit. What was taken before counts for as long as the new period is.
    pub fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// How much of `wanted`, which is 1 or more, may be taken now.
    pub fn allowance(&mut self, now: Instant, wanted: u64) -> Allowance {
        self.forget(now);
        match self.limit.max_bytes.saturating_sub(self.total) {
            0 => Allowance::From(self.next_room().unwrap_or(now)),
            room => Allowance::Bytes(room.min(wanted)),
        }
    }

    /// Counts what really was taken.
    pub fn spend(&mut self, now: Instant, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.forget(now);
        self.total = self.total.saturating_add(bytes);
        let part = self.limit.period / PARTS;
        match self.taken.back_mut() {
            Some(latest) if now.saturating_duration_since(latest.first) < part.max(TICK) => {
                latest.last = latest.last.max(now);
                latest.bytes = latest.bytes.saturating_add(bytes);
            }
            _ => self.taken.push_back(Taken { first: now, last: now, bytes }),
        }
    }

    /// Forgets what does not count any more.
    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.taken.front() {
            if now.saturating_duration_since(oldest.last) <= self.limit.period {
                break;
            }
            self.total -= oldest.bytes.min(self.total);
            self.taken.pop_front();
        }
    }

    /// When so much does not count any more that there is room for a byte.
    fn next_room(&self) -> Option<Instant> {
        // Usually 0; somebody may have taken more than was allowed.
        let mut surplus = self.total.saturating_sub(self.limit.max_bytes);
        for taken in &self.taken {
            if taken.bytes > surplus {
                return taken.last.checked_add(self.limit.period + TICK);
            }
            surplus -= taken.bytes;
        }
        None
    }
}

#[cfg(test)]
pub(crate) mod tests;
