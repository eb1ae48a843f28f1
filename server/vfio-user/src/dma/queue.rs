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

use super::{DmaSpace, Place};
use crate::wire::{Command, DmaAccess, DmaMapFlags, Header, HeaderFlags};

/// Longest single access in bytes.
const MAX_LENGTH: usize = 16 << 20;
/// Most accesses that wait at once. A device has as many as its guest makes it have, so there has
/// to be an end.
const MAX_QUEUED: usize = 1024;
/// Most bytes of accesses that wait at once, for the same reason.
const MAX_QUEUED_BYTES: usize = 32 << 20;
/// Most answers that may still come after nobody waits for them any more. With so many no message
/// is sent: a client would have no end of them to answer.
const MAX_GIVEN_UP: usize = 16;

/// Why an access to guest memory failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DmaError {
    /// The driver has not set the bus master bit of the PCI command register.
    #[error("the driver has not enabled bus mastering")]
    NotBusMaster,
    /// No region of guest memory has this address.
    #[error("no guest memory at {address:#x}")]
    NotMapped {
        /// The first address that is missing.
        address: u64,
    },
    /// The region may not be accessed this way.
    #[error("guest memory at {address:#x} may not be accessed this way")]
    NotPermitted {
        /// The first address that is refused.
        address: u64,
    },
    /// The file behind the region was truncated.
    #[error("guest memory at {address:#x} is gone")]
    Truncated {
        /// The start of the piece that was being copied.
        address: u64,
    },
    /// The client refused the message.
    #[error("the client refused access to {address:#x}: {errno}")]
    Refused {
        /// The start of the piece that was asked for.
        address: u64,
        /// Its reason.
        errno: Errno,
    },
    /// One access is longer than any device needs.
    #[error("access of {0} bytes, {MAX_LENGTH} at most")]
    TooLong(usize),
    /// The client has gone before it was done.
    #[error("the client has disconnected")]
    Disconnected,
    /// Too many accesses wait already.
    #[error("more than {MAX_QUEUED} accesses or {MAX_QUEUED_BYTES} bytes are waiting")]
    QueueFull,
}

/// A finished access to guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmaDone {
    /// The number that the device gave to the access.
    pub tag: u64,
    /// The bytes of a read, or those of a write, back for the buffer's next use; or why it failed.
    /// A failed write may have written its first bytes.
    pub result: Result<Vec<u8>, DmaError>,
}

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
    pub fn read(&mut self, address: u64, length: usize, tag: u64) -> Result<(), DmaError> {
        let place = Segment { address, length };
        self.push(tag, Direction::Read, place, Vec::new(), length, Vec::new())
    }

    /// Queues a write.
    pub fn write(&mut self, address: u64, data: Vec<u8>, tag: u64) -> Result<(), DmaError> {
        let length = data.len();
        self.push(tag, Direction::Write, Segment { address, length }, Vec::new(), length, data)
    }

    /// Queues a write to several places, one after the other.
    pub fn scatter(
        &mut self,
        segments: Vec<Segment>,
        data: Vec<u8>,
        tag: u64,
    ) -> Result<(), DmaError> {
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
    ) -> Result<(), DmaError> {
        if length > MAX_LENGTH {
            return Err(DmaError::TooLong(length));
        }
        let waiting: usize = self.operations.iter().map(|operation| operation.length).sum();
        if self.operations.len() >= MAX_QUEUED || waiting + length > MAX_QUEUED_BYTES {
            return Err(DmaError::QueueFull);
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
            ControlFlow::Continue((address, left)) => self.send(address, left.min(largest)),
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

    /// Takes a reply of the client. Returns false if nobody has ever asked for it; one that comes
    /// too late is dropped.
    pub fn reply(&mut self, header: &Header, payload: &[u8]) -> bool {
        let answered =
            |sent: &InFlight| sent.id == header.id && sent.command as u16 == header.command;
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
            }
            Err(errno) => {
                operation.refused = Some(DmaError::Refused { address: sent.address, errno });
            }
        }
        true
    }
}

impl Operation {
    /// That many bytes of the segment are done.
    fn advance(&mut self, count: usize) {
        self.done += count;
        self.left -= count;
        self.address = self.address.and_then(|address| address.checked_add(count as u64));
    }

    /// Copies as far as memory is mapped. Breaks with the result when the access is over, else
    /// says from where and how many bytes the client has to be asked for.
    fn copy_mapped(&mut self, space: &DmaSpace) -> ControlFlow<Result<(), DmaError>, (u64, usize)> {
        let access = match self.direction {
            Direction::Read => DmaMapFlags::READ,
            Direction::Write => DmaMapFlags::WRITE,
        };
        if let Some(refusal) = self.refused.take() {
            return ControlFlow::Break(Err(refusal));
        }
        // A guest on another processor sees accesses, and the segments of one, in their order; rings
        // in memory are built on that.
        if self.direction == Direction::Read {
            fence(Ordering::SeqCst);
        }
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
                Ok((Place::ByMessage, count)) => return ControlFlow::Continue((address, count)),
                Ok((Place::Mapped(file, offset), count)) => (file, offset, count),
            };
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
    let (access, data) = DmaAccess::read_from_prefix(payload).map_err(|_| Errno::PROTO)?;
    let wanted = if sent.command == Command::DmaRead { sent.count } else { 0 };
    if access.address != sent.address || access.count != sent.count as u64 || data.len() != wanted {
        return Err(Errno::PROTO);
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    const BOTH: DmaMapFlags = DmaMapFlags::all();
    const LARGEST: usize = 1000;

    fn space() -> DmaSpace {
        use std::os::fd::OwnedFd;
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let mut space = DmaSpace::default();
        space.map(0, 4096, BOTH, Some((OwnedFd::from(file), 0))).unwrap();
        space.map(4096, 4096, BOTH, None).unwrap();
        space
    }

    /// What a client would answer to `request` from a memory in which each byte is the low byte
    /// of its address.
    fn answer(request: &MessageRequest<'_>) -> (Header, Vec<u8>) {
        let mut payload = request.access.as_bytes().to_vec();
        if request.command == Command::DmaRead {
            let address = |offset| request.access.address.wrapping_add(offset);
            payload.extend((0..request.access.count).map(|offset| address(offset) as u8));
        }
        let flags = HeaderFlags::REPLY.bits();
        (
            Header { id: request.id, command: request.command as u16, size: 0, flags, error: 0 },
            payload,
        )
    }

    /// Runs an access to its end and counts the messages it took.
    fn run(queue: &mut DmaQueue, space: &DmaSpace) -> (DmaDone, usize) {
        let mut messages = 0;
        loop {
            let (header, payload) = match queue.step(space, true, LARGEST) {
                Step::Done(done) => return (done, messages),
                Step::Send(request) => answer(&request),
                Step::Idle => panic!("nothing to do"),
            };
            messages += 1;
            assert!(queue.reply(&header, &payload));
        }
    }

    #[test]
    fn a_read_may_cross_from_mapped_memory_to_memory_by_message() {
        let (mut queue, space) = (DmaQueue::default(), space());
        queue.write(4090, vec![7; 6], 1).unwrap();
        queue.read(4090, 2010, 2).unwrap();
        assert_eq!(run(&mut queue, &space).0, DmaDone { tag: 1, result: Ok(vec![7; 6]) });
        let (done, messages) = run(&mut queue, &space);
        let expected: Vec<u8> = [vec![7; 6], (4096..6100_u64).map(|a| a as u8).collect()].concat();
        assert_eq!(done, DmaDone { tag: 2, result: Ok(expected) });
        assert_eq!(messages, 3, "split at the client's limit");
    }

    #[test]
    fn bytes_are_scattered_over_places_mapped_or_not() {
        let (mut queue, space) = (DmaQueue::default(), space());
        let segment = |address, length| Segment { address, length };
        let data: Vec<u8> = (0..100).collect();
        let places =
            [segment(10, 3), segment(4090, 10), segment(0, 0), segment(20, 1000), segment(9, 9)];
        queue.scatter(places.to_vec(), data.clone(), 1).unwrap();
        let (done, messages) = run(&mut queue, &space);
        assert_eq!((done, messages), (DmaDone { tag: 1, result: Ok(data.clone()) }, 1));
        for (address, range) in [(10, 0..3), (4090, 3..9), (20, 13..100)] {
            queue.read(address, range.len(), 2).unwrap();
            assert_eq!(run(&mut queue, &space).0.result, Ok(data[range].to_vec()));
        }
        queue.scatter(vec![segment(0, 2)], data.clone(), 3).unwrap();
        assert!(run(&mut queue, &space).0.result.is_ok(), "what does not fit is not written");
        queue.scatter(vec![segment(0, 2), segment(9000, 2)], data, 4).unwrap();
        let (done, _) = run(&mut queue, &space);
        assert_eq!(done.result, Err(DmaError::NotMapped { address: 9000 }));
    }

    #[test]
    fn accesses_that_cannot_be_done_say_where_they_failed() {
        let (mut queue, space) = (DmaQueue::default(), space());
        queue.read(8190, 4, 1).unwrap();
        let (done, _) = run(&mut queue, &space);
        assert_eq!(done.result, Err(DmaError::NotMapped { address: 8192 }));
        queue.read(0, 4, 2).unwrap();
        let Step::Done(done) = queue.step(&space, false, LARGEST) else { panic!() };
        assert_eq!(done.result, Err(DmaError::NotBusMaster));
        let mut space = space;
        space.map(u64::MAX, 1, BOTH, None).unwrap();
        queue.read(u64::MAX, 2, 3).unwrap();
        let (done, _) = run(&mut queue, &space);
        assert_eq!(done.result, Err(DmaError::NotMapped { address: 0 }), "no way around the end");
    }

    #[test]
    fn refusals_and_nonsense_replies_fail_the_access_and_only_it() {
        let (mut queue, space) = (DmaQueue::default(), space());
        let breakages: [fn(&mut Header, &mut Vec<u8>); 6] = [
            |header, _| (header.flags, header.error) = (0x21, 5),
            |header, _| (header.flags, header.error) = (0x21, 0),
            |header, _| (header.flags, header.error) = (0x21, u32::MAX),
            |_, payload| payload.truncate(3),
            |_, payload| payload[8] ^= 1,
            |_, payload| payload.push(0),
        ];
        let mut errnos = Vec::new();
        for breakage in breakages {
            queue.read(5000, 10, 1).unwrap();
            let Step::Send(request) = queue.step(&space, true, LARGEST) else { panic!() };
            let (mut header, mut payload) = answer(&request);
            breakage(&mut header, &mut payload);
            assert!(queue.reply(&header, &payload));
            let Step::Done(done) = queue.step(&space, true, LARGEST) else { panic!() };
            let Err(DmaError::Refused { errno, address: 5000 }) = done.result else { panic!() };
            errnos.push(errno);
        }
        let (io, inval, proto) = (Errno::IO, Errno::INVAL, Errno::PROTO);
        assert_eq!(errnos, [io, inval, inval, proto, proto, proto]);
        queue.read(5000, 10, 2).unwrap();
        assert!(run(&mut queue, &space).0.result.is_ok());
    }

    #[test]
    fn replies_nobody_asked_for_change_nothing() {
        let (mut queue, space) = (DmaQueue::default(), space());
        queue.read(5000, 10, 1).unwrap();
        let Step::Send(request) = queue.step(&space, true, LARGEST) else { panic!() };
        let (header, payload) = answer(&request);
        assert!(!queue.reply(&Header { id: header.id ^ 1, ..header }, &payload));
        assert!(!queue.reply(&Header { command: 12, ..header }, &payload));
        assert!(queue.reply(&header, &payload));
        assert!(!queue.reply(&header, &payload));
    }

    #[test]
    fn an_abandoned_message_fails_its_access_and_its_late_reply_is_dropped() {
        let (mut queue, space) = (DmaQueue::default(), space());
        queue.read(5000, 10, 1).unwrap();
        let Step::Send(request) = queue.step(&space, true, LARGEST) else { panic!() };
        let (header, payload) = answer(&request);
        assert!(queue.in_flight().unwrap().touches(4096, 4096));
        assert!(!queue.in_flight().unwrap().touches(0, 4096));
        assert!(queue.abandon_in_flight().unwrap().result.is_err());
        assert!(queue.reply(&header, &payload), "late");
        assert!(!queue.reply(&header, &payload), "twice");
        assert!(!queue.is_ready());
    }

    #[test]
    fn cancelled_messages_are_known_when_their_replies_come() {
        let (mut queue, space) = (DmaQueue::default(), space());
        let mut replies = Vec::new();
        for _ in 0..MAX_GIVEN_UP {
            queue.read(5000, 10, 1).unwrap();
            let Step::Send(request) = queue.step(&space, true, LARGEST) else { panic!() };
            replies.push(answer(&request));
            queue.clear();
        }
        queue.read(5000, 10, 2).unwrap();
        assert!(!queue.is_ready(), "the client has enough to answer");
        assert!(matches!(queue.step(&space, true, LARGEST), Step::Idle));
        for (header, payload) in replies {
            assert!(queue.is_outstanding());
            assert!(queue.reply(&header, &payload));
        }
        assert!(run(&mut queue, &space).0.result.is_ok());
        assert!(!queue.is_outstanding());
    }

    #[test]
    fn the_queue_has_an_end() {
        let mut queue = DmaQueue::default();
        for tag in 0..MAX_QUEUED as u64 {
            queue.read(0, 1, tag).unwrap();
        }
        assert_eq!(queue.read(0, 1, 0), Err(DmaError::QueueFull));
        let mut queue = DmaQueue::default();
        for tag in 0..(MAX_QUEUED_BYTES / MAX_LENGTH) as u64 {
            queue.write(0, vec![0; MAX_LENGTH], tag).unwrap();
        }
        assert_eq!(queue.read(0, 1, 0), Err(DmaError::QueueFull));
        assert_eq!(
            DmaQueue::default().read(0, MAX_LENGTH + 1, 0),
            Err(DmaError::TooLong(MAX_LENGTH + 1))
        );
    }
}
