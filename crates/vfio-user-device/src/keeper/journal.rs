//! The journal: messages that were received and are not carried out yet, and the answer that is being
//! sent, in a state page.
//!
//! Whenever the process is killed, the page says how far it has come: the kernel itself writes there how
//! many bytes a system call has received or sent, before the process could be killed again. recvmmsg(2)
//! and sendmmsg(2) do that, and cost what recvmsg(2) and sendmsg(2) do.

use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::layout::{
    CHUNK_LEN, CHUNKS, CHUNKS_AT, INCOMING_AT, JOURNAL, MAX_INCOMING, MAX_OUTGOING, OUTGOING_AT,
    OUTGOING_BIT, OUTGOING_DATA_AT, OUTGOING_LEN,
};
use super::map::{Area, Map, Unkept};
use super::message_call::{Call, CallHeader, control_len, control_of};
use crate::protocol::message_fds::{MessageFds, receive_some};
use crate::protocol::wire::MAX_MESSAGE_FDS;
use crate::raw_fds;

/// Room for the descriptors of a message.
const CONTROL_LEN: usize = 96;
const _: () = assert!(control_len(MAX_MESSAGE_FDS) <= CONTROL_LEN);

/// Where what is of one call of recvmmsg(2).
#[repr(C)]
struct Chunk {
    /// The journal's epoch and 1 if it counts then; 0 never does.
    epoch: u32,
    message: libc::mmsghdr,
    control: [u64; CONTROL_LEN / 8],
}

/// Where what is of one call of sendmmsg(2).
#[repr(C)]
struct Attempt {
    /// Bytes that were sent before.
    sent: u32,
    message: libc::mmsghdr,
}

/// Where what is of an answer, or of some messages to the client.
#[repr(C)]
struct Outgoing {
    length: u32,
    /// Goes with the first byte; negative for none.
    fd: i32,
    /// Which of the attempts is the last one.
    current: u32,
    attempts: [Attempt; 2],
    control: [u64; 4],
}

const _: () = assert!(size_of::<Chunk>() <= CHUNK_LEN && size_of::<Outgoing>() <= OUTGOING_LEN);

impl Chunk {
    const fn at(number: usize) -> usize {
        CHUNKS_AT + number * CHUNK_LEN
    }

    const fn header(number: usize) -> CallHeader {
        CallHeader(Chunk::at(number) + offset_of!(Chunk, message))
    }

    const fn control(number: usize) -> usize {
        Chunk::at(number) + offset_of!(Chunk, control)
    }
}

impl Outgoing {
    const fn at(copy: usize) -> usize {
        OUTGOING_AT + copy * OUTGOING_LEN
    }
}

impl Attempt {
    const fn at(copy: usize, number: u32) -> usize {
        Outgoing::at(copy)
            + offset_of!(Outgoing, attempts)
            + number as usize % 2 * size_of::<Attempt>()
    }

    const fn header(copy: usize, number: u32) -> CallHeader {
        CallHeader(Attempt::at(copy, number) + offset_of!(Attempt, message))
    }
}

/// The epoch of what is received now; never 0.
fn next_epoch(map: &Map) -> u32 {
    map.epoch().wrapping_add(1).max(1)
}

/// The journal of one connection.
#[derive(Debug)]
pub(crate) struct Journal {
    area: Area,
    /// Chunks of this epoch, and bytes in them.
    chunks: usize,
    landed: usize,
    /// The descriptors in them. They stay open as long as the messages may be carried out again.
    fds: Vec<OwnedFd>,
    /// The one that goes with the answer.
    outgoing_fd: Option<OwnedFd>,
    /// What arrives does not fit any more.
    full: bool,
}

impl Journal {
    /// The journal of a page, for one connection.
    pub fn new(map: &Arc<Map>) -> Self {
        let area = map.area(JOURNAL);
        let (fds, outgoing_fd) = (Vec::new(), None);
        Journal { area, chunks: 0, landed: 0, fds, outgoing_fd, full: false }
    }

    /// The messages so far were carried out, and that counts.
    pub fn begin_epoch(&mut self) {
        (self.chunks, self.landed) = (0, 0);
        self.fds.clear();
        if std::mem::take(&mut self.full) {
            self.area.map().set_unkept(Unkept::Message, false);
        }
    }

    /// As [`receive_some`], by way of the page.
    pub fn receive(
        &mut self,
        socket: &OwnedFd,
        buffer: &mut [u8],
        fds: &mut MessageFds,
        flags: RecvFlags,
    ) -> Result<Option<usize>, Errno> {
        if self.full || self.chunks >= CHUNKS || buffer.len() > MAX_INCOMING - self.landed {
            self.full = true;
            self.area.map().set_unkept(Unkept::Message, true);
            return receive_some(socket, buffer, fds, flags);
        }
        let (map, number) = (self.area.map(), self.chunks);
        let header = Chunk::header(number);
        header.clear(map);
        map.store(Chunk::at(number) + offset_of!(Chunk, epoch), next_epoch(map));
        let landing = self.area.part(INCOMING_AT + self.landed, buffer.len());
        let control = self.area.part(Chunk::control(number), CONTROL_LEN);
        let flags = (flags | RecvFlags::CMSG_CLOEXEC).bits();
        let places = [&landing, &control];
        match header.call(Call::Receive, socket.as_fd(), &self.area, places, flags) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(Errno::CONNRESET) => return Ok(Some(0)),
            Err(errno) => return Err(errno),
        }
        let length = header.length(map).map_or(0, |length| buffer.len().min(length as usize));
        landing.copy_to(&mut buffer[..length]);
        self.take_fds(number, fds)?;
        self.chunks += 1;
        self.landed += length;
        Ok(Some(length))
    }

    /// Takes the descriptors of a chunk: duplicates for the message, which may close them, while the
    /// page names the others.
    fn take_fds(&mut self, chunk: usize, fds: &mut MessageFds) -> Result<(), Errno> {
        let (map, header) = (self.area.map(), Chunk::header(chunk));
        for fd in header.fds(map, Chunk::control(chunk), CONTROL_LEN) {
            // recvmmsg(2) has just opened it for this process, which has it once.
            let original = raw_fds::own(fd).map_err(|_| Errno::BADF)?;
            match original.try_clone() {
                Ok(duplicate) => fds.push(duplicate),
                Err(_) => fds.missing = true,
            }
            self.fds.push(original);
        }
        if header.is_truncated(map) {
            fds.missing |= fds.fds.len() < MAX_MESSAGE_FDS;
            fds.too_many = true;
        }
        Ok(())
    }

    /// Writes an answer, which is sent after the next commit. Returns false if it does not fit.
    pub fn stage(&mut self, parts: [&[u8]; 3], fd: Option<BorrowedFd<'_>>) -> bool {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MAX_OUTGOING {
            return false;
        }
        let copy = usize::from(self.area.map().copies() & OUTGOING_BIT == 0);
        let mut at = OUTGOING_DATA_AT + copy * MAX_OUTGOING;
        for part in parts {
            self.area.write(at, part);
            at += part.len();
        }
        let fd = fd.and_then(|fd| fd.try_clone_to_owned().ok());
        let raw = fd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let (map, outgoing) = (self.area.map(), Outgoing::at(copy));
        map.store(outgoing + offset_of!(Outgoing, length), u32::try_from(length).unwrap_or(0));
        map.store(outgoing + offset_of!(Outgoing, fd), raw);
        begin_attempt(map, copy, 0, 0);
        self.outgoing_fd = fd;
        true
    }

    /// Sends the answer that was committed.
    ///
    /// # Errors
    /// What sendmmsg(2) says.
    pub fn transmit(&mut self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let copy = usize::from(self.area.map().copies() & OUTGOING_BIT != 0);
        let outgoing = Outgoing::at(copy);
        let length: u32 = self.area.map().load(outgoing + offset_of!(Outgoing, length));
        let (mut number, mut sent) = (0, 0);
        while sent < length {
            begin_attempt(self.area.map(), copy, number, sent);
            let data = OUTGOING_DATA_AT + copy * MAX_OUTGOING + sent as usize;
            let fd = self.outgoing_fd.as_ref().filter(|_| sent == 0);
            let fd = fd.map_or(Vec::new(), |fd| control_of(fd.as_raw_fd()));
            let control = outgoing + offset_of!(Outgoing, control);
            self.area.write(control, &fd);
            let (rest, control) =
                (self.area.part(data, (length - sent) as usize), self.area.part(control, fd.len()));
            let header = Attempt::header(copy, number);
            let flags = SendFlags::NOSIGNAL.bits();
            match header.call(Call::Send, socket, &self.area, [&rest, &control], flags) {
                Ok(()) => {
                    sent += header.length(self.area.map()).unwrap_or(0);
                    number += 1;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.outgoing_fd = None;
        Ok(())
    }
}

/// Notes that an answer is being sent from there on.
fn begin_attempt(map: &Map, copy: usize, number: u32, sent: u32) {
    Attempt::header(copy, number).clear(map);
    map.store(Attempt::at(copy, number) + offset_of!(Attempt, sent), sent);
    map.store(Outgoing::at(copy) + offset_of!(Outgoing, current), number);
}

/// What the process that has ended has received and not carried out, and what it has not sent.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub received: Vec<u8>,
    pub received_fds: Vec<RawFd>,
    /// More descriptors came than a message may have.
    pub too_many_fds: bool,
    pub unsent: Vec<u8>,
    /// Goes with the first byte of that.
    pub unsent_fd: Option<RawFd>,
}

impl Pending {
    /// Reads it.
    pub fn of(map: &Map) -> Self {
        let mut pending = Pending::default();
        for chunk in 0..CHUNKS {
            let header = Chunk::header(chunk);
            let counts =
                map.load::<u32>(Chunk::at(chunk) + offset_of!(Chunk, epoch)) == next_epoch(map);
            let Some(length) = header.length(map).filter(|_| counts) else { break };
            let (at, length) = (INCOMING_AT + pending.received.len(), length as usize);
            if pending.received.len() + length > MAX_INCOMING {
                break;
            }
            pending.received.extend(map.read(at, length));
            pending.received_fds.extend(header.fds(map, Chunk::control(chunk), CONTROL_LEN));
            pending.too_many_fds |= header.is_truncated(map);
        }
        pending.read_unsent(map);
        pending
    }

    fn read_unsent(&mut self, map: &Map) {
        let copy = usize::from(map.copies() & OUTGOING_BIT != 0);
        let outgoing = Outgoing::at(copy);
        let length: u32 = map.load(outgoing + offset_of!(Outgoing, length));
        let fd: RawFd = map.load(outgoing + offset_of!(Outgoing, fd));
        let current = map.load(outgoing + offset_of!(Outgoing, current));
        let sent: u32 = map.load(Attempt::at(copy, current) + offset_of!(Attempt, sent));
        let more = Attempt::header(copy, current).length(map).unwrap_or(0);
        let length = (length as usize).min(MAX_OUTGOING);
        let sent = (sent.saturating_add(more) as usize).min(length);
        let at = OUTGOING_DATA_AT + copy * MAX_OUTGOING + sent;
        self.unsent = map.read(at, length - sent);
        self.unsent_fd = Some(fd).filter(|fd| *fd >= 0 && sent == 0 && length > 0);
    }
}

#[cfg(test)]
mod tests;
