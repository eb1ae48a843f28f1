//! Whether the mappings of a guest's memory show what the guest writes.
//!
//! QEMU hands over the descriptor of a memory file also when it has mapped the file privately itself
//! (`share=off`). What the guest writes then never shows in a mapping of ours. So the first accesses
//! to mapped memory go by message, and what the client says is compared with what the mapping shows,
//! until that tells. Only a client is asked that proposes `write_multiple`, or announces ROM without a
//! descriptor. QEMU does both (but announces no ROM for a device that is plugged in while the guest's
//! IOMMU is on). rust-vmm's clients do neither: they give a descriptor with everything, and take a
//! DMA_READ for a wrong reply.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

/// So many contradictions in a row are no accident: the guest writes while it is looked at.
const CONTRADICTIONS: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// Nothing has told yet; so many contradictions in a row.
    Unknown {
        contradictions: u8,
    },
    Shared,
    Private,
}

/// What is known about a client's memory.
#[derive(Debug)]
pub(super) struct Sharing {
    state: Cell<State>,
    /// Whether the client is asked as long as nothing is known.
    asked: Cell<bool>,
    /// Whether its memory was just found to be private.
    news: Cell<bool>,
}

/// What is known, as a value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SharingState {
    state: State,
    asked: bool,
}

impl Default for SharingState {
    fn default() -> Self {
        Sharing::default().save()
    }
}

impl Default for Sharing {
    fn default() -> Self {
        let state = Cell::new(State::Unknown { contradictions: 0 });
        Sharing { state, asked: Cell::new(false), news: Cell::new(false) }
    }
}

impl Sharing {
    /// Saves it.
    pub fn save(&self) -> SharingState {
        SharingState { state: self.state.get(), asked: self.asked.get() }
    }

    /// Goes on from what another process knew.
    pub fn restore(&self, state: SharingState) {
        self.state.set(state.state);
        self.asked.set(state.asked);
    }

    /// From now on the client is asked.
    pub fn ask(&self) {
        self.asked.set(true);
    }

    /// Whether mappings are used, and not the client asked.
    pub fn use_mappings(&self) -> bool {
        match self.state.get() {
            State::Unknown { .. } => !self.asked.get(),
            State::Shared => true,
            State::Private => false,
        }
    }

    /// Whether mappings are of no use.
    pub fn is_private(&self) -> bool {
        self.state.get() == State::Private
    }

    /// Whether mappings were just found to be of no use; it is said once.
    pub fn news(&self) -> bool {
        self.news.take()
    }

    /// The client refuses to be asked for memory that is mapped. Returns whether its mapping is to
    /// do instead.
    pub fn refused(&self) -> bool {
        let unknown = matches!(self.state.get(), State::Unknown { .. });
        if unknown {
            self.state.set(State::Shared);
        }
        unknown
    }

    /// Compares what the client says, or was just told, with what a mapping of the same bytes shows.
    pub fn compare(&self, said: &[u8], shown: &[u8]) {
        let State::Unknown { contradictions } = self.state.get() else { return };
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let state = match (said == shown, is_zero(shown)) {
            // New memory is zeros in either case.
            (true, true) => return,
            (true, false) => State::Shared,
            (false, true) => State::Private,
            // The guest has just written, or these are bytes from before it started.
            (false, false) if contradictions + 1 < CONTRADICTIONS => {
                State::Unknown { contradictions: contradictions + 1 }
            }
            (false, false) => State::Private,
        };
        self.news.set(state == State::Private);
        self.state.set(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Sharing {
        let sharing = Sharing::default();
        sharing.ask();
        sharing
    }

    #[test]
    fn a_client_is_not_asked_unless_it_must_know_how_to_answer() {
        assert!(Sharing::default().use_mappings());
        assert!(!asked().use_mappings());
    }

    #[test]
    fn the_first_bytes_that_are_not_zero_tell() {
        for (said, shown, shared) in [([0, 7], [0, 7], true), ([0, 7], [0, 0], false)] {
            let sharing = asked();
            sharing.compare(&[0, 0], &[0, 0]);
            assert!(!sharing.use_mappings() && !sharing.is_private(), "zeros tell nothing");
            sharing.compare(&said, &shown);
            assert_eq!((sharing.use_mappings(), sharing.is_private()), (shared, !shared));
            sharing.compare(&[1, 1], &[0, 0]);
            sharing.compare(&[1, 1], &[1, 1]);
            assert_eq!(sharing.use_mappings(), shared, "it stays so");
        }
    }

    #[test]
    fn bytes_from_before_the_guest_tell_when_they_contradict_twice() {
        let sharing = asked();
        sharing.compare(&[1, 1], &[2, 2]);
        assert!(!sharing.is_private());
        sharing.compare(&[1, 1], &[2, 2]);
        assert!(sharing.is_private());
        assert!(sharing.news() && !sharing.news(), "once");
    }

    #[test]
    fn a_client_that_rejects_is_not_asked_again() {
        let sharing = asked();
        assert!(sharing.refused());
        assert!(sharing.use_mappings());
        assert!(!sharing.refused());
    }
}
