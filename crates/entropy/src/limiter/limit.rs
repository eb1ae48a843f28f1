//! What a limit is: its bytes, its period, and the values that each can have.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One more than the most bytes a limit can have.
const MAX_BYTES_END: u64 = 1 << 63;

/// An invalid limit. The words are QEMU's.
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

/// Bytes in a period: 1 to 2⁶³ - 1. Its text is decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxBytes(u64);

impl MaxBytes {
    /// As a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for MaxBytes {
    type Error = LimitError;

    fn try_from(bytes: u64) -> Result<Self, LimitError> {
        if (1..MAX_BYTES_END).contains(&bytes) {
            Ok(MaxBytes(bytes))
        } else {
            Err(LimitError::MaxBytes)
        }
    }
}

impl FromStr for MaxBytes {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        if !is_integer(text) {
            return Err(LimitError::MaxBytesType);
        }
        // An integer that does not fit is negative or too large.
        text.parse::<u64>().map_err(|_| LimitError::MaxBytes)?.try_into()
    }
}

impl fmt::Display for MaxBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The length of a period: up to 2³² - 1 ms, and not zero. Its text is decimal milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(Duration);

impl Period {
    /// As a duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Default for Period {
    /// As in QEMU and vhost-device-rng.
    fn default() -> Self {
        Period(Duration::from_millis(65536))
    }
}

impl TryFrom<Duration> for Period {
    type Error = LimitError;

    fn try_from(period: Duration) -> Result<Self, LimitError> {
        if period.is_zero() {
            return Err(LimitError::Period);
        }
        if period > Duration::from_millis(u32::MAX.into()) {
            return Err(LimitError::PeriodType);
        }
        Ok(Period(period))
    }
}

impl FromStr for Period {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let milliseconds: u32 = text.parse().map_err(|_| LimitError::PeriodType)?;
        Duration::from_millis(milliseconds.into()).try_into()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_millis().fmt(f)
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// At most so many bytes in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many bytes.
    pub max_bytes: MaxBytes,
    /// In this time.
    pub period: Period,
}

impl Limit {
    /// At most `max_bytes` in each `period`.
    ///
    /// # Errors
    /// [`LimitError::MaxBytes`] unless it is from 1 to 2⁶³ - 1, [`LimitError::Period`] if it is 0,
    /// [`LimitError::PeriodType`] if it is longer than 2³² - 1 ms.
    pub fn new(max_bytes: u64, period: Duration) -> Result<Self, LimitError> {
        Ok(Limit { max_bytes: max_bytes.try_into()?, period: period.try_into()? })
    }
}
