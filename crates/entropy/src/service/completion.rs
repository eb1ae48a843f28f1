//! How many bytes a request may be completed with, so that a Linux guest goes on asking.
//!
//! Linux's driver has one buffer of 64 bytes (a cache line), and its readers take 64 bytes at once.
//! If a completion has more bytes than a reader still misses, the kernels 6.12.107 to 7.3.4 miscount
//! the rest. If it has more than twice as many, they make no request any more, and the reader waits
//! for ever. A virtio-rng of 1000 bytes a period does that to them with its last 40 bytes.
//!
//! So a completion has no more bytes than the reader misses, which is the buffer's size less what
//! was completed since the reader began. The device does not know when that was: a reader that was
//! killed is followed by one that misses all. It may have begun after any completion, so that a
//! completion also has at most twice of what the unluckiest of these readers misses: the one for
//! which the latest completions almost fill the buffer. Uneven completions become smaller by that,
//! and no byte of a limit is lost.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// The buffers of Linux's driver: a cache line of the processors that it runs on, and not less than
/// 32 bytes (drivers/char/hw_random/virtio-rng.c).
const BUFFERS: RangeInclusive<u64> = 32..=256;

/// The completions that a reader of the driver may still be waiting behind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completions {
    /// Bytes of the driver's buffer.
    buffer: u64,
    /// What a reader misses that began when an earlier one had got all.
    missing: u64,
    /// The latest completions, together less than the buffer.
    latest: VecDeque<u64>,
    /// The sum of them.
    sum: u64,
}

impl Completions {
    /// Those of a device elsewhere, as a client says. `None` if no device can have had them.
    pub fn checked(self) -> Option<Self> {
        let none = self.buffer == 0 && self.missing == 0 && self.latest.is_empty() && self.sum == 0;
        let sum = self.latest.iter().try_fold(0_u64, |sum, bytes| sum.checked_add(*bytes));
        let possible = is_linuxs(self.buffer)
            && (1..=self.buffer).contains(&self.missing)
            && self.latest.len() < usize::try_from(self.buffer).unwrap_or(0)
            && sum == Some(self.sum)
            && self.sum < self.buffer;
        (none || possible).then_some(self)
    }

    /// The most bytes for a request with so much room, of which `available` can be had.
    pub fn most(&mut self, room: u64, available: u64) -> u64 {
        if !is_linuxs(room) {
            return available;
        }
        if self.buffer != room {
            *self = Completions { buffer: room, missing: room, ..Completions::default() };
        }
        let most = available.min(self.missing).min(2 * (room - self.sum));
        // With nothing between the half and the whole, a reader still misses a half after the first
        // completion, and the next one can be whole whatever happened.
        if most < room { most.min(room / 2) } else { most }
    }

    /// A request with so much room was completed with so many bytes.
    pub fn add(&mut self, room: u64, bytes: u64) {
        if self.buffer != room {
            return;
        }
        self.missing = self.missing.saturating_sub(bytes);
        if self.missing == 0 {
            self.missing = room;
        }
        self.latest.push_back(bytes);
        self.sum = self.sum.saturating_add(bytes);
        while self.sum >= room {
            let Some(oldest) = self.latest.pop_front() else { break };
            self.sum -= oldest;
        }
    }
}

/// Whether a request is as Linux's driver makes them. Others are completed with what there is.
fn is_linuxs(room: u64) -> bool {
    room.is_power_of_two() && BUFFERS.contains(&room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_that_no_device_can_have_had_are_refused() {
        let possible = |buffer, missing, latest: &[u64], sum| {
            let latest = latest.iter().copied().collect();
            Completions { buffer, missing, latest, sum }.checked().is_some()
        };
        assert!(possible(0, 0, &[], 0) && possible(64, 24, &[20, 20], 40));
        assert!(!possible(64, 24, &[20, 20], 41), "the wrong sum");
        assert!(!possible(64, 24, &[20, 44], 64), "all of the buffer");
        assert!(!possible(64, 0, &[], 0) && !possible(64, 65, &[], 0) && !possible(63, 1, &[], 0));
        assert!(!possible(64, 1, &[u64::MAX, 1], 0), "an overflow");
        assert!(!possible(64, 64, &[0; 64], 0), "too many");
    }
}
