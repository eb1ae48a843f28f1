//! Accesses to guest memory that a device has asked for, one after the other.
//!
//! A device never waits for guest memory: it queues an access, and is told when it is done. The
//! reason is a deadlock that no timeout could repair. QEMU answers DMA messages from its main
//! loop, under its big lock; a virtual CPU holds that same lock while it waits for a register
//! read's reply. A device that waited for DMA inside a register access would never get it.
//!
//! The queue does no input or output of its own: [`DmaQueue::step`] says what is to be done next.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{Ordering, fence};
use std::vec;

use rustix::io::Errno;
use zerocopy::FromBytes;

use super::outcome::{DmaDone, DmaError, MAX_LENGTH, MAX_QUEUED, MAX_QUEUED_BYTES, Rejected};
use super::{DmaSpace, Place};
use crate::wire::{Command, DmaAccess, DmaMapFlags, Header, HeaderFlags};

/// Bytes that are copied in one step, so that a register need not wait for a long access.
const MAX_STEP_LEN: usize = 64 << 10;
/// What each piece counts at least in that, however few bytes it has.
const PIECE_LEN: usize = 256;
/// Most answers that may still come after nobody waits for them any more. With so many no message
/// is sent: a client would have no end of them to answer.
const MAX_GIVEN_UP: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// A place in guest memory, one of several that an access is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub length: usize,
}

#[derive(Debug)]
struct Operation {
    tag: u64,
    direction: Direction,
    /// Where the next byte is; none at the end of the address space.
    address: Option<u64>,
    /// Bytes from there on that belong to the same segment.
    left: usize,
    /// The segments after this one.
    segments: vec::IntoIter<Segment>,
    /// Bytes of all of them.
    length: usize,
    /// Bytes to write, or the bytes read so far.
    data: Vec<u8>,
    done: usize,
    /// The client's refusal of a piece.
    refused: Option<DmaError>,
    /// What the client has just answered: the address, and how many of the last bytes of `data`.
    answered: Option<(u64, usize)>,
}

/// A message to the client that has not been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InFlight {
    id: u16,
    command: Command,
    address: u64,
    count: usize,
}

impl InFlight {
    /// Whether it touches any byte of a region.
    pub fn touches(&self, address: u64, size: u64) -> bool {
        let last = |start: u64, length: u64| start.saturating_add(length.saturating_sub(1));
        self.address <= last(address, size) && address <= last(self.address, self.count as u64)
    }
}

/// A message that has to be sent now.
#[derive(Debug)]
pub(crate) struct MessageRequest<'q> {
    pub id: u16,
    pub command: Command,
    pub access: DmaAccess,
    /// What to write; empty for a read.
    pub data: &'q [u8],
}

/// What the queue needs next.
#[derive(Debug)]
pub(crate) enum Step<'q> {
    /// Nothing: it is empty, or waits for a reply.
    Idle,
    /// Nothing from outside: a part of an access is done, and there is more.
    Copied,
    /// Send this message.
    Send(MessageRequest<'q>),
    /// Tell the device.
    Done(DmaDone),
}

/// The accesses that wait, in the order in which the device asked.
#[derive(Debug, Default)]
pub(crate) struct DmaQueue {
    operations: VecDeque<Operation>,
    in_flight: Option<InFlight>,
    /// Messages whose answers nobody waits for any more, the latest last.
    given_up: VecDeque<InFlight>,
    next_id: u16,
}

impl DmaQueue {
    /// Queues a read of `length` bytes.
    pub fn read(&mut self, address: u64, length: usize, tag: u64) -> Result<(), Rejected> {
        let place = Segment { address, length };
        self.push(tag, Direction::Read, place, Vec::new(), length, Vec::new())
    }

    /// Queues a write.
    pub fn write(&mut self, address: u64, data: Vec<u8>, tag: u64) -> Result<(), Rejected> {
        let length = data.len();
        self.push(tag, Direction::Write, Segment { address, length }, Vec::new(), length, data)
    }

    /// Queues a write to several places, one after the other.
    pub fn scatter(
        &mut self,
        segments: Vec<Segment>,
        data: Vec<u8>,
        tag: u64,
    ) -> Result<(), Rejected> {
        let room = segments.iter().fold(0, |room: usize, part| room.saturating_add(part.length));
        let length = data.len().min(room);
        let nowhere = Segment { address: 0, length: 0 };
        self.push(tag, Direction::Write, nowhere, segments, length, data)
    }

    fn push(
        &mut self,
        tag: u64,
        direction: Direction,
        place: Segment,
        segments: Vec<Segment>,
        length: usize,
        data: Vec<u8>,
    ) -> Result<(), Rejected> {
        if length > MAX_LENGTH {
            return Err(Rejected { error: DmaError::TooLong(length), data });
        }
        let waiting: usize = self.operations.iter().map(|operation| operation.length).sum();
        if self.operations.len() >= MAX_QUEUED || waiting + length > MAX_QUEUED_BYTES {
            return Err(Rejected { error: DmaError::QueueFull, data });
        }
        self.operations.push_back(Operation {
            tag,
            direction,
            address: Some(place.address),
            left: place.length,
            segments: segments.into_iter(),
            length,
            data,
            done: 0,
            refused: None,
            answered: None,
        });
        Ok(())
    }

    /// Whether [`DmaQueue::step`] has something to do now.
    pub fn is_ready(&self) -> bool {
        !self.operations.is_empty() && self.may_send()
    }

    fn may_send(&self) -> bool {
        self.in_flight.is_none() && self.given_up.len() < MAX_GIVEN_UP
    }

    /// Whether any access, cancelled ones included, may still touch guest memory.
    pub fn is_outstanding(&self) -> bool {
        !self.operations.is_empty() || self.in_flight.is_some() || !self.given_up.is_empty()
    }

    /// The message that waits for an answer.
    pub fn in_flight(&self) -> Option<InFlight> {
        self.in_flight
    }

    /// Gives up waiting for an answer; the access it was for fails, a late answer is ignored.
    pub fn abandon_in_flight(&mut self) -> Option<DmaDone> {
        let in_flight = self.give_up()?;
        let operation = self.operations.pop_front()?;
        let error = DmaError::NotMapped { address: in_flight.address };
        Some(DmaDone { tag: operation.tag, result: Err(error) })
    }

    /// Ends every access, because the client is gone.
    pub fn disconnect(&mut self) -> Vec<DmaDone> {
        self.in_flight = None;
        self.given_up.clear();
        let ended = |operation: Operation| DmaDone {
            tag: operation.tag,
            result: Err(DmaError::Disconnected),
        };
        self.operations.drain(..).map(ended).collect()
    }

    /// Forgets everything, without telling the device.
    pub fn clear(&mut self) {
        self.operations.clear();
        self.give_up();
    }

    /// Stops waiting for an answer, and remembers that it may still come.
    fn give_up(&mut self) -> Option<InFlight> {
        let in_flight = self.in_flight.take()?;
        self.given_up.push_back(in_flight);
        Some(in_flight)
    }

    /// Goes on with the first access: copies what is mapped, or says which message to send.
    /// `largest` is the most bytes that the client takes in one message.
    pub fn step(&mut self, space: &DmaSpace, bus_master: bool, largest: usize) -> Step<'_> {
        if !self.may_send() {
            return Step::Idle;
        }
        let Some(operation) = self.operations.front_mut() else {
            return Step::Idle;
        };
        let ended = if bus_master {
            operation.copy_mapped(space)
        } else {
            ControlFlow::Break(Err(DmaError::NotBusMaster))
        };
        match ended {
            ControlFlow::Break(result) => self.finish(result),
            ControlFlow::Continue(Ahead::Copy) => Step::Copied,
            ControlFlow::Continue(Ahead::Ask { address, count }) => {
                self.send(address, count.min(largest))
            }
        }
    }

    /// Removes the first access, with its result.
    fn finish(&mut self, result: Result<(), DmaError>) -> Step<'_> {
        match self.operations.pop_front() {
            None => Step::Idle,
            Some(Operation { tag, data, .. }) => {
                Step::Done(DmaDone { tag, result: result.map(|()| data) })
            }
        }
    }

    /// Asks the client for the next `count` bytes of the first access, which are at `address`.
    fn send(&mut self, address: u64, count: usize) -> Step<'_> {
        let Some(operation) = self.operations.front() else {
            return Step::Idle;
        };
        let (command, data) = match operation.direction {
            Direction::Read => (Command::DmaRead, &[][..]),
            Direction::Write => {
                let data = operation.data.get(operation.done..operation.done + count);
                (Command::DmaWrite, data.unwrap_or_default())
            }
        };
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.in_flight = Some(InFlight { id, command, address, count });
        let access = DmaAccess { address, count: count as u64 };
        Step::Send(MessageRequest { id, command, access, data })
    }

    /// Takes a reply of the client. Returns false if no message asked for it; one that comes
    /// too late is dropped.
    pub fn reply(&mut self, header: &Header, payload: &[u8]) -> bool {
        // An answer by the wrong command is one, too: no other will come.
        let answered = |sent: &InFlight| sent.id == header.id;
        let Some(sent) = self.in_flight.filter(answered) else {
            let late = self.given_up.iter().position(answered);
            return late.and_then(|position| self.given_up.remove(position)).is_some();
        };
        self.in_flight = None;
        let Some(operation) = self.operations.front_mut() else {
            return true;
        };
        match reply_data(&sent, header, payload) {
            Ok(data) => {
                operation.data.extend_from_slice(data);
                operation.advance(sent.count);
                operation.answered = Some((sent.address, sent.count));
            }
            Err(errno) => {
                operation.refused = Some(DmaError::Refused { address: sent.address, errno });
            }
        }
        true
    }
}

/// What an access goes on with.
enum Ahead {
    /// More of the same.
    Copy,
    /// The client has to be asked for the next bytes.
    Ask { address: u64, count: usize },
}

impl Operation {
    /// That many bytes of the segment are done.
    fn advance(&mut self, count: usize) {
        self.done += count;
        self.left -= count;
        self.address = self.address.and_then(|address| address.checked_add(count as u64));
    }

    /// Copies as far as memory is mapped, but no more than a step. Breaks with the result when the
    /// access is over.
    fn copy_mapped(&mut self, space: &DmaSpace) -> ControlFlow<Result<(), DmaError>, Ahead> {
        let access = match self.direction {
            Direction::Read => DmaMapFlags::READ,
            Direction::Write => DmaMapFlags::WRITE,
        };
        if let Some((address, count)) = self.answered.take() {
            let said = self.data.get(self.done.saturating_sub(count)..self.done);
            space.compare(address, said.unwrap_or_default());
        }
        if let Some(refusal) = self.refused.take() {
            if !self.address.is_some_and(|address| space.refused(address)) {
                return ControlFlow::Break(Err(refusal));
            }
        }
        // A guest on another processor sees accesses, and the segments of one, in their order; rings
        // in memory are built on that.
        if self.direction == Direction::Read {
            fence(Ordering::SeqCst);
        }
        let mut step = MAX_STEP_LEN;
        while self.done < self.length {
            if self.left == 0 {
                // There is one: the access has bytes left.
                let Some(Segment { address, length }) = self.segments.next() else { break };
                (self.address, self.left) = (Some(address), length.min(self.length - self.done));
                continue;
            }
            let Some(address) = self.address else {
                return ControlFlow::Break(Err(DmaError::NotMapped { address: 0 }));
            };
            let (file, offset, count) = match space.locate(address, self.left, access) {
                Err(error) => return ControlFlow::Break(Err(error)),
                Ok((Place::ByMessage, count)) => {
                    return ControlFlow::Continue(Ahead::Ask { address, count });
                }
                Ok(_) if step == 0 => return ControlFlow::Continue(Ahead::Copy),
                Ok((Place::Mapped(file, offset), count)) => (file, offset, count.min(step)),
            };
            step = step.saturating_sub(count.max(PIECE_LEN));
            let copied = match self.direction {
                Direction::Read => {
                    self.data.resize(self.done + count, 0);
                    file.read(offset, &mut self.data[self.done..])
                }
                Direction::Write => {
                    fence(Ordering::Release);
                    file.write(offset, &self.data[self.done..self.done + count])
                }
            };
            if copied.is_err() {
                return ControlFlow::Break(Err(DmaError::Truncated { address }));
            }
            self.advance(count);
        }
        ControlFlow::Break(Ok(()))
    }
}

/// The data of a reply, or the errno that it amounts to.
fn reply_data<'p>(sent: &InFlight, header: &Header, payload: &'p [u8]) -> Result<&'p [u8], Errno> {
    if header.flags().contains(HeaderFlags::ERROR) {
        // An errno that makes no sense becomes one that does.
        let plausible = i32::try_from(header.error).ok().filter(|errno| (1..4096).contains(errno));
        return Err(plausible.map_or(Errno::INVAL, Errno::from_raw_os_error));
    }
    if header.command != sent.command as u16 {
        return Err(Errno::PROTO);
    }
    if sent.command == Command::DmaWrite && is_short_reply(sent, payload) {
        return Ok(&[]);
    }
    let (access, data) = DmaAccess::read_from_prefix(payload).map_err(|_| Errno::PROTO)?;
    let wanted = if sent.command == Command::DmaRead { sent.count } else { 0 };
    if access.address != sent.address || access.count != sent.count as u64 || data.len() != wanted {
        return Err(Errno::PROTO);
    }
    Ok(data)
}

/// Whether it is one of the two other forms of DMA_WRITE's reply: none, as in QEMU's sources, or
/// with 4 bytes of count, as in the specification.
fn is_short_reply(sent: &InFlight, payload: &[u8]) -> bool {
    payload.is_empty()
        || <[u8; 12]>::try_from(payload).is_ok_and(|payload| {
            let (address, count) = payload.split_at(8);
            address == sent.address.to_ne_bytes()
                && count == u32::try_from(sent.count).unwrap_or(u32::MAX).to_ne_bytes()
        })
}

#[cfg(test)]
mod tests;
