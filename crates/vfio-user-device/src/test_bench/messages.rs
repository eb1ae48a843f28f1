//! The client's answers to the messages of a device on a bench: at once, or when a test wants.

use zerocopy::IntoBytes;

use super::TestBench;
use crate::memory::MessageRequest;
use crate::protocol::wire::{Command, Header, HeaderFlags};

/// A message to the client that it has not answered yet.
pub(super) struct Held {
    header: Header,
    address: u64,
    length: usize,
    data: Vec<u8>,
    access: Vec<u8>,
}

impl Held {
    pub(super) fn new(message: &MessageRequest<'_>) -> Self {
        let header = Header {
            id: message.id,
            command: message.command as u16,
            size: 0,
            flags: HeaderFlags::REPLY.bits(),
            error: 0,
        };
        Held {
            header,
            address: message.access.address,
            length: usize::try_from(message.access.count).unwrap_or(0),
            data: message.data.to_vec(),
            access: message.access.as_bytes().to_vec(),
        }
    }
}

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

    fn answer(&mut self, held: Held) {
        let Held { header, address, length, data, access: mut reply } = held;
        let address = usize::try_from(address).unwrap_or(usize::MAX);
        if header.command == Command::DmaWrite as u16 {
            self.write_memory(address, &data);
        } else {
            reply.extend(self.read_memory(address, length));
        }
        self.function.bus.dma.reply(&header, &reply);
    }
}
