//! How much of a shared source somebody may have, in the words of libvirt's `<bandwidth>`.

use std::fmt;

/// What a class may take, in bytes and bytes in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// What it may take over time.
    pub average: Option<u64>,
    /// What it may take for a short while.
    pub peak: Option<u64>,
    /// How many bytes it may take at once at its peak.
    pub burst: Option<u64>,
    /// What it gets however busy the others are.
    pub floor: u64,
}

/// A bandwidth that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BandwidthError {
    what: &'static str,
}

impl fmt::Display for BandwidthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for BandwidthError {}

impl Bandwidth {
    /// Looks whether it can be.
    ///
    /// # Errors
    /// An average or a peak of nothing, or a floor above the peak.
    pub fn check(&self) -> Result<(), BandwidthError> {
        if self.average == Some(0) || self.peak == Some(0) {
            return Err(BandwidthError { what: "average and peak are 1 byte a second or more" });
        }
        if self.peak.is_some_and(|peak| peak < self.floor) {
            return Err(BandwidthError { what: "the floor is above the peak" });
        }
        Ok(())
    }
}
