//! Accesses to guest memory that a device has asked for, one after the other.
//!
//! A device never waits for guest memory: it queues an access, and is told when it is done. The
//! reason is a deadlock that no timeout could repair. QEMU answers DMA messages from its main
//! loop, under its big lock; a virtual CPU holds that same lock while it waits for a register
//! read's reply. A device that waited for DMA inside a register access would never get it.
//!
//! The queue does no input or output of its own: [`DmaQueue::step`] says what is to be done next.

mod operation;
mod state;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::by_message::{InFlight, MessageRequest};
use super::completion::{DmaError, MAX_LENGTH, MAX_QUEUED, MAX_QUEUED_BYTES, Rejected};
use super::cursor::{Ahead, Cursor, Segment};
use super::space::DmaSpace;
use crate::protocol::wire::Header;
use crate::recording::Recorder;
use crate::task::Reply;

use operation::{Operation, Sent};
pub(crate) use state::DmaQueueState;

/// Bytes that are copied in one step, so that a register need not wait for a long access.
const MAX_STEP_LEN: usize = 64 << 10;
/// Most late replies: those to messages of accesses that have ended. With so many no message is sent,
/// so that a client has an end of them.
const MAX_GIVEN_UP: usize = 16;
/// Most messages of one access that are under way together.
const MAX_TOGETHER: usize = 8;

/// Who is told of the end of an access.
pub(crate) enum Owner {
    /// The device, by this tag.
    Device(u64),
    /// One of its tasks, which waits for the end.
    Task(Arc<Reply<Result<Vec<u8>, DmaError>>>),
}

/// An access that has ended.
pub(crate) struct Ended {
    pub owner: Owner,
    /// The bytes of a read, or those of a write for another use.
    pub result: Result<Vec<u8>, DmaError>,
}

/// What the queue needs next.
pub(crate) enum Step<'q> {
    /// Nothing: it is empty, or waits for a reply.
    Idle,
    /// Nothing from outside: a part of an access is done, and there is more.
    Copied,
    /// Send this message.
    Send(MessageRequest<'q>),
    /// Tell its owner.
    Done(Ended),
}

/// The accesses that wait, in the order in which the device asked.
#[derive(Default)]
pub(crate) struct DmaQueue {
    operations: VecDeque<Operation>,
    /// Messages of the first access without a reply, in the order of their sending.
    in_flight: VecDeque<Sent>,
    /// The first access cannot go on before the reply to one of them.
    blocked: bool,
    /// Messages whose replies are late, the latest last.
    given_up: VecDeque<InFlight>,
    next_id: u16,
    /// No message is sent: see [`DmaQueue::hold`].
    held: bool,
    pub recorder: Recorder,
}

impl fmt::Debug for DmaQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaQueue")
            .field("operations", &self.operations.len())
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}

impl DmaQueue {
    /// Queues a write of `data` to several places, one after the other, and then a read of so many bytes
    /// from the places behind those. A task's messages are under way together.
    pub fn access(
        &mut self,
        owner: Owner,
        segments: Vec<Segment>,
        mut data: Vec<u8>,
        read: usize,
    ) -> Result<(), Rejected> {
        let room = total(&segments);
        let written = data.len().min(room);
        let length = written + read.min(room - written);
        if length > MAX_LENGTH {
            return Err(Rejected { error: DmaError::TooLong(length), data });
        }
        let waiting: usize = self.operations.iter().map(|operation| operation.length).sum();
        if self.operations.len() >= MAX_QUEUED || waiting + length > MAX_QUEUED_BYTES {
            return Err(Rejected { error: DmaError::QueueFull, data });
        }
        data.resize(length.max(data.len()), 0);
        self.operations.push_back(Operation {
            owner,
            written,
            segments,
            length,
            data,
            cursor: Cursor::default(),
            replied: None,
            refused: None,
        });
        Ok(())
    }

    /// Whether [`DmaQueue::step`] has something to do now.
    pub fn is_ready(&self) -> bool {
        !self.operations.is_empty() && self.may_go_on()
    }

    fn may_go_on(&self) -> bool {
        !self.blocked && self.given_up.len() < MAX_GIVEN_UP
    }

    /// Sends no message any more, or goes on. What is mapped is accessed all the same.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
        // The next step finds out.
        self.blocked = false;
    }

    /// Whether no access waits or is under way.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether any access, cancelled ones included, may still touch guest memory.
    pub fn is_outstanding(&self) -> bool {
        !self.operations.is_empty() || self.is_in_flight() || !self.given_up.is_empty()
    }

    /// Whether a message waits for a reply.
    pub fn is_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// The messages that wait for a reply.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        self.in_flight.iter().map(|sent| sent.message)
    }

    /// Gives up waiting for replies; the access that they were for fails, late replies are ignored.
    pub fn abandon_in_flight(&mut self) -> Option<Ended> {
        let address = self.in_flight.front()?.message.address;
        self.give_up();
        let operation = self.operations.pop_front()?;
        Some(Ended { owner: operation.owner, result: Err(DmaError::NotMapped { address }) })
    }

    /// Ends every access, because the client is gone.
    pub fn disconnect(&mut self) -> Vec<Ended> {
        self.give_up();
        self.given_up.clear();
        let ended = |operation: Operation| Ended {
            owner: operation.owner,
            result: Err(DmaError::Disconnected),
        };
        self.operations.drain(..).map(ended).collect()
    }

    /// Forgets everything, without telling the device.
    pub fn clear(&mut self) {
        self.operations.clear();
        self.give_up();
    }

    /// Forgets the accesses of tasks.
    pub fn cancel_tasks(&mut self) {
        let is_task = |operation: &Operation| matches!(operation.owner, Owner::Task(_));
        if self.operations.front().is_some_and(is_task) {
            self.give_up();
        }
        self.operations.retain(|operation| !is_task(operation));
    }

    /// Stops waiting for replies, and remembers that they may still come.
    fn give_up(&mut self) {
        self.blocked = false;
        self.given_up.extend(self.in_flight.drain(..).map(|sent| sent.message));
    }

    /// Goes on with the first access: copies what is mapped, or says which message to send.
    /// `largest` is the most bytes that the client takes in one message.
    pub fn step(&mut self, space: &DmaSpace, bus_master: bool, largest: usize) -> Step<'_> {
        if !self.may_go_on() {
            return Step::Idle;
        }
        let Some(operation) = self.operations.front_mut() else {
            return Step::Idle;
        };
        let waits = !self.in_flight.is_empty();
        let ahead = if bus_master {
            // What is copied must not overtake what was sent.
            operation.advance(space, if waits { 0 } else { MAX_STEP_LEN })
        } else {
            Err(DmaError::NotBusMaster)
        };
        match ahead {
            Ok(Ahead::Ask { .. }) if self.held => {
                self.blocked = true;
                Step::Idle
            }
            Ok(Ahead::Ask { address, count }) => {
                let message = (address, count.min(largest));
                self.send(message, space.is_asked_first(address), largest)
            }
            _ if waits => {
                self.blocked = true;
                Step::Idle
            }
            Ok(Ahead::Copy) => Step::Copied,
            Ok(Ahead::Nothing) => self.finish(Ok(())),
            Err(error) => self.finish(Err(error)),
        }
    }

    /// Removes the first access, with its result.
    fn finish(&mut self, result: Result<(), DmaError>) -> Step<'_> {
        match self.operations.pop_front() {
            None => Step::Idle,
            Some(Operation { owner, data, .. }) => {
                Step::Done(Ended { owner, result: result.map(|()| data) })
            }
        }
    }

    /// Asks the client for the next bytes of the first access, unless messages under way have to get
    /// their replies before.
    fn send(&mut self, (address, count): (u64, usize), alone: bool, largest: usize) -> Step<'_> {
        let Some(operation) = self.operations.front_mut() else {
            return Step::Idle;
        };
        let under_way: usize = self.in_flight.iter().map(|sent| sent.message.count).sum();
        let first = self.in_flight.is_empty();
        let full = self.in_flight.len() >= MAX_TOGETHER || under_way + count > largest;
        if !first && (full || alone) {
            self.blocked = true;
            return Step::Idle;
        }
        self.blocked = alone || matches!(operation.owner, Owner::Device(_));
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let from = operation.cursor;
        let write = from.done() < operation.written;
        let message = InFlight { id, write, address, count };
        self.in_flight.push_back(Sent { message, from, alone });
        operation.cursor.advance(count);
        let written = if write { count } else { 0 };
        let data = operation.data.get(from.done()..from.done() + written).unwrap_or_default();
        Step::Send(MessageRequest::new(&message, data))
    }

    /// Takes a reply of the client. Returns false if no message asked for it; one that comes
    /// too late is dropped.
    pub fn reply(&mut self, header: &Header, payload: &[u8]) -> bool {
        // A reply by the wrong command is one, too: no other will come.
        let place = self.in_flight.iter().position(|sent| sent.message.id == header.id);
        let Some(sent) = place.and_then(|place| self.in_flight.remove(place)) else {
            let late = self.given_up.iter().position(|sent| sent.id == header.id);
            return late.and_then(|position| self.given_up.remove(position)).is_some();
        };
        self.blocked = false;
        if let Some(operation) = self.operations.front_mut() {
            operation.take_reply(sent, header, payload, &self.recorder);
        }
        true
    }
}

/// Bytes of all the segments.
fn total(segments: &[Segment]) -> usize {
    segments.iter().fold(0, |total: usize, part| total.saturating_add(part.length))
}

#[cfg(test)]
mod tests;
