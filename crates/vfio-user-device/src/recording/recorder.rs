//! The session's end of a recording: puts records into a ring, and never waits.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::Thread;

use rtrb::Producer;
use zerocopy::{FromZeros, IntoBytes};

use super::format::{
    ALIGNMENT, InterruptBody, Kind, MAX_KEPT, MemoryBody, MessageBody, RecordHead,
};
use super::now;
use crate::pci::irq_index::IrqIndex;
use crate::protocol::wire::{Command, Header};

/// What all parts of a session record to; most sessions have none.
///
/// The parts are in one thread, so that the lock is free whenever one of them takes it.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Option<Arc<Mutex<Track>>>);

/// The records of one session on their way to the file.
pub(super) struct Track {
    ring: Producer<u8>,
    session: u32,
    /// Records that had no room.
    dropped: u64,
    writer: Option<Thread>,
}

/// What the device does with its interrupt pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinChange {
    Asserted = 1,
    Deasserted = 2,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Recorder(on)" } else { "Recorder(off)" })
    }
}

impl Recorder {
    /// Records to a ring. The writer is woken when that is half full.
    pub(super) fn new(ring: Producer<u8>, session: u32, writer: Option<Thread>) -> Self {
        Recorder(Some(Arc::new(Mutex::new(Track { ring, session, dropped: 0, writer }))))
    }

    /// Whether anything is recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The time, if it is of use.
    pub fn now(&self) -> Option<u64> {
        self.is_on().then(now)
    }

    fn track(&self) -> Option<MutexGuard<'_, Track>> {
        self.0.as_ref()?.try_lock().ok()
    }

    /// Records what happens now.
    fn put(&self, kind: Kind, detail: u16, parts: [&[u8]; 2]) {
        if let Some(mut track) = self.track() {
            track.put(now(), kind, detail, [parts[0], parts[1], &[]]);
        }
    }

    /// The client's command that came at `time`, and what it was answered with.
    pub fn message(
        &self,
        time: Option<u64>,
        (header, payload, fds): (&Header, &[u8], usize),
        reply: Option<(&Header, &[u8])>,
    ) {
        let (Some(time), Some(mut track)) = (time, self.track()) else { return };
        let mut body = MessageBody::new_zeroed();
        body.command.copy_from_slice(header.as_bytes());
        let payload = kept(payload);
        let mut answer: &[u8] = &[];
        if let Some((header, payload)) = reply {
            body.reply.copy_from_slice(header.as_bytes());
            answer = kept(payload);
        }
        body.duration = u32::try_from(now().saturating_sub(time)).unwrap_or(u32::MAX).into();
        body.fds = u32::try_from(fds).unwrap_or(u32::MAX).into();
        body.command_kept = length(payload).into();
        body.reply_kept = length(answer).into();
        track.put(time, Kind::Message, 0, [body.as_bytes(), payload, answer]);
    }

    /// An access of the device to mapped guest memory.
    pub fn memory(&self, command: Command, address: u64, data: &[u8]) {
        self.access(command, address, data.len(), data, None, 0);
    }

    /// One that the client was asked for.
    pub fn memory_by_message(
        &self,
        (command, id): (Command, u16),
        (address, count): (u64, usize),
        data: &[u8],
        error: u32,
    ) {
        self.access(command, address, count, data, Some(id), error);
    }

    fn access(
        &self,
        command: Command,
        address: u64,
        count: usize,
        data: &[u8],
        id: Option<u16>,
        error: u32,
    ) {
        let body = MemoryBody {
            address: address.into(),
            count: u32::try_from(count).unwrap_or(u32::MAX).into(),
            by_message: u16::from(id.is_some()).into(),
            id: id.unwrap_or(0).into(),
            error: error.into(),
            reserved: 0.into(),
        };
        let detail = u16::from(command == Command::DmaWrite);
        self.put(Kind::Memory, detail, [body.as_bytes(), kept(data)]);
    }

    /// An eventfd of the client was signalled.
    pub fn interrupt(&self, index: IrqIndex, vector: usize) {
        self.interrupt_state(index, vector, 0);
    }

    /// The device drives its interrupt pin.
    pub fn pin(&self, change: PinChange) {
        self.interrupt_state(IrqIndex::Intx, 0, change as u32);
    }

    fn interrupt_state(&self, index: IrqIndex, vector: usize, state: u32) {
        let vector = u32::try_from(vector).unwrap_or(u32::MAX).into();
        let body = InterruptBody { vector, state: state.into() };
        self.put(Kind::Interrupt, index as u16, [body.as_bytes(), &[]]);
    }

    /// A timer fires; with no number, a task wakes up.
    pub fn timer(&self, id: Option<u32>) {
        let number = id.unwrap_or(0).to_le_bytes();
        self.put(Kind::Timer, u16::from(id.is_none()), [&number, &[]]);
    }

    /// The device's waker was used.
    pub fn wake(&self) {
        self.put(Kind::Wake, 0, [&[]; 2]);
    }

    /// The client has gone.
    pub fn end(&self, why: &str) {
        self.put(Kind::End, 0, [why.as_bytes(), &[]]);
    }
}

impl Track {
    /// Puts a record into the ring, behind the number of those that had no room before it.
    fn put(&mut self, time: u64, kind: Kind, detail: u16, parts: [&[u8]; 3]) {
        if self.dropped > 0 {
            let count = self.dropped.to_le_bytes();
            if !self.write(time, Kind::Dropped, 0, [&count, &[], &[]]) {
                self.dropped += 1;
                return;
            }
            self.dropped = 0;
        }
        if !self.write(time, kind, detail, parts) {
            self.dropped += 1;
        }
    }

    fn write(&mut self, time: u64, kind: Kind, detail: u16, parts: [&[u8]; 3]) -> bool {
        let (head, length) = head(time, self.session, kind, detail, &parts);
        let written = match self.ring.write_chunk(length) {
            Err(_) => false,
            Ok(mut chunk) => {
                let (first, second) = chunk.as_mut_slices();
                let mut at = 0;
                for part in [head.as_bytes(), parts[0], parts[1], parts[2]] {
                    copy(first, second, at, part);
                    at += part.len();
                }
                chunk.commit_all();
                true
            }
        };
        if self.ring.cached_slots() < self.ring.buffer().capacity() / 2 {
            // What is cached may be old: it is looked at again by the next record.
            if let Some(writer) = self.writer.as_ref().filter(|_| self.is_half_full()) {
                writer.unpark();
            }
        }
        written
    }

    fn is_half_full(&self) -> bool {
        self.ring.slots() < self.ring.buffer().capacity() / 2
    }
}

/// The head of a record with these parts, and the bytes of the whole.
pub(super) fn head(
    time: u64,
    session: u32,
    kind: Kind,
    detail: u16,
    parts: &[&[u8]; 3],
) -> (RecordHead, usize) {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    let length = (size_of::<RecordHead>() + size).next_multiple_of(ALIGNMENT);
    let head = RecordHead {
        time: time.into(),
        length: u32::try_from(length).unwrap_or(u32::MAX).into(),
        session: session.into(),
        kind: (kind as u16).into(),
        detail: detail.into(),
        size: u32::try_from(size).unwrap_or(u32::MAX).into(),
    };
    (head, length)
}

/// Copies into two slices that are one behind the other.
fn copy(first: &mut [u8], second: &mut [u8], at: usize, part: &[u8]) {
    let (head, tail) = part.split_at(part.len().min(first.len().saturating_sub(at)));
    if let Some(to) = first.get_mut(at..at + head.len()) {
        to.copy_from_slice(head);
    }
    let begin = (at + head.len()).saturating_sub(first.len());
    if let Some(to) = second.get_mut(begin..begin + tail.len()) {
        to.copy_from_slice(tail);
    }
}

fn kept(data: &[u8]) -> &[u8] {
    data.get(..MAX_KEPT).unwrap_or(data)
}

fn length(data: &[u8]) -> u32 {
    // Kept data is short.
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}
