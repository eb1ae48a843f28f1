//! Fine time: how long bytes take at a rate, in whole numbers.

/// Nanoseconds of a second.
pub(super) const SECOND: u64 = 1_000_000_000;

/// Fine time has so many binary places behind the nanosecond: at high rates, a few bytes are less
/// than one.
const FINE_PLACES: u32 = 32;

/// Nanoseconds as fine time.
pub(super) fn fine(nanoseconds: u64) -> u128 {
    u128::from(nanoseconds) << FINE_PLACES
}

/// How long so many bytes take at a rate (bytes per second, not 0), in fine time.
pub(super) fn time_for(bytes: u64, rate: u64) -> u128 {
    ((u128::from(bytes) * u128::from(SECOND)) << FINE_PLACES) / u128::from(rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_of_the_highest_rate_takes_time() {
        let tebibytes = 1 << 40;
        assert_eq!(time_for(tebibytes, tebibytes), fine(SECOND));
        let sum: u128 = (0..1024).map(|_| time_for(1, tebibytes)).sum();
        assert!(time_for(1024, tebibytes).abs_diff(sum) <= 1024);
    }
}
