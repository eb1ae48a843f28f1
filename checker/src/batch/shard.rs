//! A part of a folder of submissions: `K/N` is the Kth of N, from 1.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most shards of a folder.
const MAX_SHARDS: u32 = 10_000;

/// The Kth of N parts of a folder. Every submission is in one of them, whichever machine asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// From 1.
    number: u32,
    /// How many there are.
    of: u32,
}

impl Shard {
    /// All of a folder.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// The Kth of N, if there is one.
    #[must_use]
    pub fn new(number: u32, of: u32) -> Option<Self> {
        (of <= MAX_SHARDS && (1..=of).contains(&number)).then_some(Self { number, of })
    }

    /// Which one it is, from 1.
    #[must_use]
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many there are.
    #[must_use]
    pub fn of(self) -> u32 {
        self.of
    }

    /// Its part of a list. Neighbours are in different ones, as slow submissions often are
    /// neighbours.
    pub fn part<T>(self, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        let skipped = usize::try_from(self.number.saturating_sub(1)).unwrap_or(usize::MAX);
        let step = usize::try_from(self.of).unwrap_or(usize::MAX).max(1);
        all.into_iter().skip(skipped).step_by(step)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shard = text
            .split_once('/')
            .and_then(|(number, of)| Self::new(number.parse().ok()?, of.parse().ok()?));
        shard.ok_or_else(|| {
            format!("expected K/N, the Kth of N parts, with K from 1 to N and N up to {MAX_SHARDS}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_submission_is_in_one_shard() {
        for of in 1..9 {
            let mut found: Vec<u32> = Vec::new();
            for number in 1..=of {
                found.extend(Shard::new(number, of).expect("it is one").part(0..7));
            }
            found.sort_unstable();
            assert_eq!(found, (0..7).collect::<Vec<_>>(), "{of} shards");
        }
    }

    #[test]
    fn shards_are_counted_from_one_and_others_are_refused() {
        assert_eq!("2/3".parse::<Shard>().map(|shard| shard.to_string()), Ok("2/3".to_owned()));
        for text in ["0/3", "4/3", "1/0", "1", "a/b", "-1/2", "1/10001"] {
            let error = text.parse::<Shard>().expect_err(text);
            assert!(error.contains("expected K/N"), "{error}");
        }
    }
}
