//! Where a generator is in its stream, as a value.

use serde::{Deserialize, Serialize};

/// A generator's place: one that starts from it gives the numbers that come next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum GeneratorState {
    /// Of [`ChaCha20`](super::ChaCha20).
    Chacha20 {
        /// The key.
        key: [u8; 32],
        /// Numbers given so far.
        position: u64,
    },
    /// Of [`Glibc`](super::Glibc).
    Glibc {
        /// Its words.
        state: [u32; 31],
        /// Place of the tap that is replaced next.
        front: usize,
        /// Place of the tap that is added next.
        rear: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Kind;
    use super::*;

    proptest! {
        #[test]
        fn a_saved_generator_goes_on_where_it_was(seed: u32, before in 0_usize..200) {
            for kind in [Kind::Chacha20, Kind::Glibc] {
                let mut numbers = kind.start(Some(seed)).unwrap();
                (0..before).for_each(|_| _ = numbers.next_u32());
                let text = serde_json::to_string(&numbers.state()).unwrap();
                let state: GeneratorState = serde_json::from_str(&text).unwrap();
                let mut others = state.start().unwrap();
                for _ in 0..100 {
                    prop_assert_eq!(numbers.next_u32(), others.next_u32());
                }
            }
        }
    }

    #[test]
    fn a_place_outside_of_the_state_is_refused() {
        let state = |front, rear| GeneratorState::Glibc { state: [0; 31], front, rear };
        assert!(state(30, 27).start().is_some());
        assert!(state(31, 0).start().is_none() && state(0, 31).start().is_none());
    }
}
