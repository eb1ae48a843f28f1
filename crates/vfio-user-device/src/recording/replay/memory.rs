//! Guest memory in a replay: reads get the bytes that were recorded, writes are compared with them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zerocopy::IntoBytes;

use super::difference::{Difference, Stop, difference, value};
use crate::memory::HeldMessage;
use crate::protocol::wire::{DmaAccess, Header, HeaderFlags};
use crate::recording::events::{Event, MemoryAccess};
use crate::recording::read::File;

/// How far ahead in the recording an access may stand: messages to the client overtake each other.
const LOOK_AHEAD: usize = 16;

/// The recorded accesses that have not been done yet, for the replay and for the device's memory.
#[derive(Clone)]
pub(crate) struct ReplayedMemory(Arc<Mutex<Memory>>);

struct Memory {
    reads: VecDeque<Piece>,
    writes: VecDeque<Piece>,
    /// The event that is replayed.
    index: usize,
    /// What was wrong with an access to mapped memory.
    failure: Option<Stop>,
    /// Messages of the device that were answered later, when they were recorded.
    waiting: VecDeque<HeldMessage>,
}

/// What the client answers.
type Reply = (Header, Vec<u8>);

/// A recorded access.
struct Piece {
    /// Which event it is.
    index: usize,
    access: MemoryAccess,
    /// Bytes of it that have been done.
    done: usize,
}

impl fmt::Debug for ReplayedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayedMemory")
    }
}

impl ReplayedMemory {
    /// The accesses of a session.
    pub(super) fn of(file: &File, session: u32) -> Self {
        let (mut reads, mut writes) = (VecDeque::new(), VecDeque::new());
        for (index, event) in file.events.iter().enumerate() {
            if let Event::Memory(access) = &event.event {
                if event.session == session {
                    let to = if access.is_write { &mut writes } else { &mut reads };
                    to.push_back(Piece { index, access: access.clone(), done: 0 });
                }
            }
        }
        let waiting = VecDeque::new();
        let memory = Memory { reads, writes, index: 0, failure: None, waiting };
        ReplayedMemory(Arc::new(Mutex::new(memory)))
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads mapped memory.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        let mut memory = self.lock();
        let index = memory.index;
        let found = match memory.read(index, address, data.len() as u64) {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Vec::new(),
            Err(stop) => {
                memory.failure.get_or_insert(stop);
                Vec::new()
            }
        };
        data.iter_mut().zip(found).for_each(|(to, from)| *to = from);
    }

    /// Writes mapped memory.
    pub fn write(&self, address: u64, data: &[u8]) {
        let mut memory = self.lock();
        let index = memory.index;
        if let Err(stop) = memory.write(index, address, data) {
            memory.failure.get_or_insert(stop);
        }
    }

    /// An access that stands before an event and has not been done.
    pub(super) fn missing(&self, index: usize) -> Option<Difference> {
        let memory = self.lock();
        let before = |piece: &&Piece| piece.index < index;
        let first = [memory.reads.front(), memory.writes.front()].into_iter().flatten();
        let piece = first.filter(before).min_by_key(|piece| piece.index)?;
        let replayed = "it does not access that".into();
        Some(Difference { index: piece.index, recorded: piece.words(), replayed })
    }

    /// An event is replayed from now on.
    pub(super) fn begin(&self, index: usize) {
        self.lock().index = index;
    }

    /// Whether the accesses to mapped memory were those of the recording.
    pub(super) fn check(&self) -> Result<(), Stop> {
        self.lock().failure.take().map_or(Ok(()), Err)
    }

    /// The client's reply to a message, unless it came later when it was recorded.
    pub(super) fn answer(&self, index: usize, asked: HeldMessage) -> Result<Option<Reply>, Stop> {
        let mut memory = self.lock();
        if memory.is_answered_later(&asked, index) {
            memory.waiting.push_back(asked);
            return Ok(None);
        }
        memory.answer(index, asked).map(Some)
    }

    /// The client's reply to the message by which the device has accessed that memory. One that the
    /// device has not sent is missed at the next event.
    pub(super) fn answer_now(
        &self,
        index: usize,
        recorded: &MemoryAccess,
    ) -> Result<Option<Reply>, Stop> {
        let mut memory = self.lock();
        let place = memory.waiting.iter().position(|asked| {
            asked.access.address == recorded.address && asked.is_write() == recorded.is_write
        });
        let asked = place.and_then(|place| memory.waiting.remove(place));
        asked.map(|asked| memory.answer(index, asked)).transpose()
    }
}

impl Memory {
    /// Whether the recording has the answer behind this event.
    fn is_answered_later(&self, asked: &HeldMessage, index: usize) -> bool {
        let pieces = if asked.is_write() { &self.writes } else { &self.reads };
        let piece = find(pieces, asked.access.address).and_then(|place| pieces.get(place));
        piece.is_some_and(|piece| piece.access.message.is_some() && piece.index > index)
    }

    /// The client's reply to a message.
    fn answer(&mut self, index: usize, asked: HeldMessage) -> Result<Reply, Stop> {
        let DmaAccess { address, count } = asked.access;
        let mut header = asked.header;
        let mut reply = asked.access.as_bytes().to_vec();
        let done = if asked.is_write() {
            self.write(index, address, &asked.data)?
        } else {
            self.read(index, address, count)?.map(|data| reply.extend(data))
        };
        if let Err(errno) = done {
            header.flags |= HeaderFlags::ERROR.bits();
            header.error = errno;
        }
        Ok((header, reply))
    }

    /// The bytes that were read there, or the errno of the client.
    fn read(
        &mut self,
        index: usize,
        address: u64,
        count: u64,
    ) -> Result<Result<Vec<u8>, u32>, Stop> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut data = Vec::new();
        while data.len() < count {
            let next = address.wrapping_add(data.len() as u64);
            let what = || format!("it reads {count} bytes of guest memory at {address:#x}");
            let place = find(&self.reads, next).ok_or_else(|| unexpected(index, what()))?;
            let piece = &mut self.reads[place];
            if piece.access.error != 0 {
                let errno = piece.access.error;
                self.reads.remove(place);
                return Ok(Err(errno));
            }
            let bytes = piece.rest();
            if bytes.is_empty() {
                let kept = piece.access.data.len();
                return Err(Stop::Stopped(format!(
                    "{}, of which {kept} were recorded",
                    piece.words()
                )));
            }
            let taken = bytes.len().min(count - data.len());
            data.extend_from_slice(bytes.get(..taken).unwrap_or_default());
            advance(&mut self.reads, place, taken);
        }
        Ok(Ok(data))
    }

    /// Compares what is written with what was.
    fn write(&mut self, index: usize, address: u64, data: &[u8]) -> Result<Result<(), u32>, Stop> {
        let mut done = 0;
        while done < data.len() {
            let next = address.wrapping_add(done as u64);
            let rest = data.get(done..).unwrap_or_default();
            let place = find(&self.writes, next).ok_or_else(|| {
                unexpected(index, format!("it writes {} to guest memory at {next:#x}", value(rest)))
            })?;
            let piece = &mut self.writes[place];
            if piece.access.error != 0 {
                let errno = piece.access.error;
                self.writes.remove(place);
                return Ok(Err(errno));
            }
            let left = (piece.access.count as usize).saturating_sub(piece.done).max(1);
            let count = left.min(rest.len());
            let (recorded, replayed) = (piece.rest(), rest.get(..count).unwrap_or_default());
            // Bytes that were not kept cannot be compared.
            if recorded.iter().zip(replayed).any(|(recorded, replayed)| recorded != replayed) {
                let now = format!("it writes {}", value(replayed));
                return Err(difference(piece.index, piece.words(), now));
            }
            advance(&mut self.writes, place, count);
            done += count;
        }
        Ok(Ok(()))
    }
}

impl Piece {
    /// The recorded bytes that have not been done.
    fn rest(&self) -> &[u8] {
        self.access.data.get(self.done..).unwrap_or_default()
    }

    fn words(&self) -> String {
        let MemoryAccess { is_write, address, count, .. } = self.access;
        let action = if is_write { "wrote" } else { "read" };
        let data = value(self.access.data.get(..16).unwrap_or(&self.access.data));
        format!("the device {action} {count} bytes of guest memory at {address:#x}: {data}")
    }
}

/// The recorded access that goes on at an address.
fn find(pieces: &VecDeque<Piece>, address: u64) -> Option<usize> {
    let goes_on = |piece: &Piece| piece.access.address.wrapping_add(piece.done as u64) == address;
    pieces.iter().take(LOOK_AHEAD).position(goes_on)
}

fn advance(pieces: &mut VecDeque<Piece>, place: usize, count: usize) {
    if let Some(piece) = pieces.get_mut(place) {
        piece.done += count;
        if piece.done >= piece.access.count as usize {
            pieces.remove(place);
        }
    }
}

fn unexpected(index: usize, replayed: String) -> Stop {
    difference(index, "no such access follows".into(), replayed)
}
