//! Health tests of a source: whether its bytes can still be random.
//!
//! They are the continuous tests of NIST SP 800-90B, section 4.4, and its start-up test (4.3). They
//! find a source that has failed: one that is stuck, or that prefers some values. They do not find one
//! that is predictable.
//!
//! | test | samples | fails if |
//! | --- | --- | --- |
//! | repetition count (4.4.1) | bytes | the same byte comes [`REPETITION_CUTOFF`] times in a row |
//! | adaptive proportion (4.4.2) | windows of 512 bytes | the first byte of a window is in it [`BYTE_CUTOFF`] times or more |
//! | adaptive proportion (4.4.2) | windows of 1,024 bits | the first bit of a window is in it [`BIT_CUTOFF`] times or more |
//! | start-up (4.3) | the first 1,024 bytes | one of the above does |
//!
//! The cut-offs are those for 4 bits of entropy in each byte, and a false alarm in a window with a
//! probability of 2⁻⁴⁰ (α). So all alarms in 512 bytes of such a source together come with less than
//! 2⁻³⁰. A source with more entropy has fewer.

mod monitor;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use monitor::{Alarm, BIT_CUTOFF, BYTE_CUTOFF, HealthMonitor, REPETITION_CUTOFF};

/// How many bytes the start-up test takes.
pub const START_UP_LEN: usize = 1024;

/// What becomes of a source that fails a health test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthMode {
    /// It is not tested.
    #[default]
    Off,
    /// The log says so, and guests get the bytes.
    Warn,
    /// Guests get no bytes until it passes the start-up test.
    Stop,
}

impl HealthMode {
    /// All of them.
    pub const ALL: [HealthMode; 3] = [HealthMode::Off, HealthMode::Warn, HealthMode::Stop];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            HealthMode::Off => "off",
            HealthMode::Warn => "warn",
            HealthMode::Stop => "stop",
        }
    }
}

impl fmt::Display for HealthMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A mode that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}; expected one of off, warn, stop")]
pub struct HealthModeError(String);

impl FromStr for HealthMode {
    type Err = HealthModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = HealthMode::ALL.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(|| HealthModeError(text.into()))
    }
}

/// What the health tests of a source have found so far.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct HealthReport {
    /// Bytes that were tested.
    pub bytes: u64,
    /// Alarms of the repetition count test.
    pub repetition_alarms: u64,
    /// Alarms of the adaptive proportion tests.
    pub proportion_alarms: u64,
    /// Whether guests get no bytes, because the source has not passed the start-up test.
    pub stopped: bool,
}
