//! Where a queue is, as a value: what a device that takes another one's place goes on from.

use serde::{Deserialize, Serialize};

/// The place of the next completion. Chains are completed in their order, one at a time, so the next
/// chain to serve is the one at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueuePosition {
    /// Number of the completion in a split queue, descriptor in a packed one.
    pub(super) used: u16,
    /// The wrap counter of a packed queue.
    pub(super) wrap: bool,
    /// The driver may want an interrupt for the completion before: so say devices that looked for that
    /// later.
    pub(super) undecided: bool,
    /// Descriptors of the chain whose completion may be in guest memory already; 0 if there is none.
    #[serde(default)]
    pub(super) completing: u16,
}

impl QueuePosition {
    /// Whether the completion at this place may be in guest memory already.
    pub fn is_completing(&self) -> bool {
        self.completing != 0
    }
}

impl Default for QueuePosition {
    /// That of a new queue.
    fn default() -> Self {
        QueuePosition { used: 0, wrap: true, undecided: false, completing: 0 }
    }
}
