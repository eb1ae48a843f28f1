//! What is left of the queue when a device is exchanged, as a value.
//!
//! Accesses that have not ended do not go along: the device starts them again. What goes along are
//! the numbers of messages whose answers may still come.

use serde::{Deserialize, Serialize};

use super::DmaQueue;
use crate::memory::by_message::InFlight;

/// The numbers of messages.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DmaQueueState {
    next_id: u16,
    /// Messages whose replies are late and will be ignored.
    given_up: Vec<InFlight>,
}

impl DmaQueue {
    /// Takes back the messages that wait for a reply: they are sent again when the queue goes on, and
    /// replies to them are ignored.
    pub fn send_again(&mut self) {
        if let (Some(first), Some(operation)) =
            (self.in_flight.front(), self.operations.front_mut())
        {
            operation.cursor = first.from;
        }
        self.give_up();
    }

    /// Saves it. A message that waits for its answer counts as given up.
    pub fn save(&self) -> DmaQueueState {
        let given_up = self.given_up.iter().copied().chain(self.in_flight()).collect();
        DmaQueueState { next_id: self.next_id, given_up }
    }

    /// Goes on with another queue's numbers.
    pub fn restore(&mut self, state: DmaQueueState) {
        let DmaQueueState { next_id, given_up } = state;
        *self = DmaQueue { given_up: given_up.into(), next_id, ..DmaQueue::default() };
    }
}
