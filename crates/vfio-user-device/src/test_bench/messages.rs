//! The client's answers to the messages of a device on a bench: at once, or when a test wants.

use zerocopy::IntoBytes;

use super::TestBench;
use crate::memory::HeldMessage;

impl TestBench {
    /// Leaves messages to the client unanswered, or answers those that wait.
    pub fn hold_messages(&mut self, hold: bool) {
        self.messages_held = hold;
        self.run();
    }

    /// Answers the messages that wait, and holds those that the device sends then.
    pub fn answer_messages(&mut self) {
        (0..self.held.len()).for_each(|_| self.answer_message());
    }

    /// Answers the message that has waited longest, if there is one.
    pub fn answer_message(&mut self) {
        if let Some(held) = self.held.pop_front() {
            self.answer(held);
        }
        self.run();
    }

    /// How many messages the device has needed so far.
    pub fn messages_sent(&self) -> usize {
        self.messages_sent
    }

    /// How many of them wait for their answers.
    pub fn messages_waiting(&self) -> usize {
        self.held.len()
    }

    /// Answers the messages that wait, as the client would.
    pub(super) fn answer_held(&mut self) {
        while let Some(held) = self.held.pop_front() {
            self.answer(held);
        }
    }

    fn answer(&mut self, held: HeldMessage) {
        let address = usize::try_from(held.access.address).unwrap_or(usize::MAX);
        let mut reply = held.access.as_bytes().to_vec();
        if held.is_write() {
            self.write_memory(address, &held.data);
        } else {
            let length = usize::try_from(held.access.count).unwrap_or(0);
            reply.extend(self.read_memory(address, length));
        }
        self.function.bus.dma.reply(&held.header, &reply);
    }
}
