//! Messages over a stream socket: where one ends, and which file descriptors belong to it.
//!
//! A stream has no message boundaries, and descriptors travel beside the bytes. The kernel ends a
//! recvmsg(2) after a piece that carries descriptors, so they always belong to the last message
//! that a call has seen bytes of. [`Connection`] never asks for more than 36 bytes before it knows
//! a message's size: that takes a whole register access in one call. It can reach into the next
//! message, whose descriptors then come early, but only in a message's first call, so that two
//! messages' descriptors never meet.

mod kept;
mod state;

use std::fmt;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use zerocopy::FromBytes;

use super::connection_error::{ConnectionError, MESSAGE_TIMEOUT};
use super::message_fds::{MessageFds, receive_some};
use super::wire::{Command, HEADER_SIZE, Header, MAX_MESSAGE_SIZE};
use crate::keeper::Journal;

pub(crate) use state::ConnectionState;

/// Bytes asked for before a message's size is known: a REGION_READ, or a REGION_WRITE of up to 4
/// bytes, header and all. Not more, because those are also the bytes of the shortest message that
/// has descriptors, SET_IRQS: one that was sent together with the next message keeps them.
const FIRST_READ: usize = 36;
/// Largest step in which the buffer for a long message grows: memory follows bytes that really
/// arrived, not a number that the other side wrote into a header.
const GROWTH: usize = 64 << 10;
/// Longest buffer in bytes that is kept for the next message, which is hardly ever longer: there
/// may be a thousand connections that have nothing to say.
pub(super) const KEPT: usize = 512;

/// Most pieces of 4 KiB that are thrown away at a connection's end: more than a socket holds.
const DISCARDED_PIECES: usize = 128;

/// One message, whole.
pub(crate) struct Message<'c> {
    pub header: Header,
    pub payload: &'c [u8],
    pub fds: MessageFds,
}

/// In one line, for the log.
impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = &self.header;
        match Command::from_wire(header.command) {
            Some(command) => write!(f, "{command:?}")?,
            None => write!(f, "command {}", header.command)?,
        }
        let kind = match (header.is_command(), header.wants_reply()) {
            (true, true) => "",
            (true, false) => " (posted)",
            (false, _) => " (reply)",
        };
        let (bytes, fds) = (self.payload.len(), self.fds.fds.len());
        write!(f, "{kind} {}: {bytes} bytes, {fds} descriptors", header.id)
    }
}

/// A stream socket that speaks in messages.
pub(crate) struct Connection {
    socket: Arc<OwnedFd>,
    /// The first bytes of the message that is arriving, sometimes of the one after it too.
    head: [u8; FIRST_READ],
    /// How many bytes of `head` are filled.
    head_filled: usize,
    /// A message longer than `head`, from its first byte on, so that its payload is one slice.
    long: Vec<u8>,
    /// Bytes of `long` that have arrived.
    long_filled: usize,
    fds: MessageFds,
    /// Bytes at the start of `head` that belong to the message handed out last.
    consumed: usize,
    /// Bytes that the socket has given so far.
    received: u64,
    message_timeout: Duration,
    /// Where messages and answers are kept for a process that takes this one's place after a crash.
    journal: Option<Box<Journal>>,
    /// When the rest of the message that is arriving has to be here.
    rest_due: Option<Instant>,
}

impl Connection {
    pub fn new(socket: Arc<OwnedFd>) -> Self {
        Connection {
            socket,
            head: [0; FIRST_READ],
            head_filled: 0,
            long: Vec::new(),
            long_filled: 0,
            fds: MessageFds::default(),
            consumed: 0,
            received: 0,
            message_timeout: MESSAGE_TIMEOUT,
            journal: None,
            rest_due: None,
        }
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Receives until a message is complete.
    ///
    /// With `RecvFlags::DONTWAIT`, returns `None` as soon as the socket has nothing more; what has
    /// arrived of a message is kept for the next call. Without it, waits for the first byte as long
    /// as it takes; a signal ends the wait, with `None` as well.
    ///
    /// # Errors
    /// [`ConnectionError::MessageTimeout`] among others, in both cases.
    pub fn receive(&mut self, flags: RecvFlags) -> Result<Option<Message<'_>>, ConnectionError> {
        self.forget_last_message();
        let header = loop {
            if let Some(header) = self.header()?.filter(|header| self.has_all_of(header)) {
                break header;
            }
            if !self.receive_part(flags)? && !self.wait_for_rest(flags)? {
                return Ok(None);
            }
        };
        let size = header.size as usize;
        self.consumed = size.min(self.head_filled);
        // Bytes of a next message are here already: the kernel would have stopped before them if the
        // descriptors were this message's.
        let is_followed = self.head_filled > size;
        let fds = if is_followed { MessageFds::default() } else { std::mem::take(&mut self.fds) };
        let bytes = if self.long.is_empty() { &self.head[..] } else { &self.long };
        let payload = bytes.get(HEADER_SIZE..size).unwrap_or_default();
        Ok(Some(Message { header, payload, fds }))
    }

    /// Whether bytes lie here that came with the last message and were not parsed yet, so
    /// that waiting for the socket to become readable would be wrong. A part of a message that
    /// [`Connection::receive`] has seen is no such thing: the rest of it has to come first.
    pub fn has_buffered_bytes(&self) -> bool {
        self.consumed > 0 && self.head_filled > self.consumed
    }

    /// Bytes that the socket has given so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether every message in the first `bytes` bytes has been handed out: those that lie here
    /// for the next call came later.
    pub fn has_handed_out(&self, bytes: u64) -> bool {
        self.received >= bytes + FIRST_READ as u64
    }

    /// Bytes that lie in the socket.
    pub fn unread(&self) -> Result<u64, Errno> {
        ioctl_fionread(&self.socket)
    }

    /// When the rest of a message that has begun has to be here.
    pub fn message_deadline(&self) -> Option<Instant> {
        self.rest_due.filter(|_| self.consumed == 0)
    }

    /// Sends a message in three parts, with one sendmsg(2) where that takes all: some clients expect a
    /// header in one piece.
    pub fn send(
        &self,
        parts: [&[u8]; 3],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ConnectionError> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd]);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut sent = 0;
        while sent < total {
            let mut skip = sent;
            let rest = parts.map(|part| {
                let start = skip.min(part.len());
                skip -= start;
                IoSlice::new(part.get(start..).unwrap_or_default())
            });
            // The descriptor has gone with the first bytes.
            let sending = match sent {
                0 => sendmsg(self.as_fd(), &rest, &mut control, SendFlags::NOSIGNAL),
                _ => sendmsg(self.as_fd(), &rest, &mut Default::default(), SendFlags::NOSIGNAL),
            };
            match sending {
                Ok(bytes) => sent += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ConnectionError::Closed),
                // Only a socket with a time limit says so.
                Err(Errno::AGAIN) => return Err(ConnectionError::NotReading),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Throws away what has arrived and will not be looked at: closing a socket with unread data
    /// resets the connection, which other sides take worse than its end. Bounded, for one that
    /// never stops sending.
    pub fn discard_unread(&self) {
        let mut buffer = [0; 4096];
        for _ in 0..DISCARDED_PIECES {
            match recv(self.as_fd(), &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, bytes)) if bytes > 0 => {}
                _ => return,
            }
        }
    }

    /// Makes room after a message that was handed out: bytes of the next one move to the front.
    fn forget_last_message(&mut self) {
        if self.consumed == 0 {
            return;
        }
        self.head.copy_within(self.consumed..self.head_filled, 0);
        self.head_filled -= self.consumed;
        self.consumed = 0;
        self.rest_due = None;
        self.long_filled = 0;
        self.long.clear();
        self.long.shrink_to(KEPT);
    }

    /// The header, once it is here, with a size that can be true.
    fn header(&self) -> Result<Option<Header>, ConnectionError> {
        let Ok((header, _)) = Header::read_from_prefix(&self.head[..self.head_filled]) else {
            return Ok(None);
        };
        if !(HEADER_SIZE..=MAX_MESSAGE_SIZE).contains(&(header.size as usize)) {
            return Err(ConnectionError::Size { id: header.id, size: header.size });
        }
        Ok(Some(header))
    }

    /// The socket has nothing more. Returns false if that is all that the caller wants to know, or
    /// no message has begun; else there may be more now.
    fn wait_for_rest(&mut self, flags: RecvFlags) -> Result<bool, ConnectionError> {
        if self.head_filled == 0 {
            return Ok(false);
        }
        let now = Instant::now();
        let due = *self.rest_due.get_or_insert(now + self.message_timeout);
        if now >= due {
            return Err(ConnectionError::MessageTimeout {
                received: self.head_filled.max(self.long_filled),
                expected: self.header()?.map_or(HEADER_SIZE, |header| header.size as usize),
            });
        }
        if flags.contains(RecvFlags::DONTWAIT) {
            return Ok(false);
        }
        self.wait(due)
    }

    /// Sleeps until the socket can be read, or the deadline is there. Returns false after a signal.
    pub fn wait(&self, deadline: Instant) -> Result<bool, ConnectionError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) => Ok(true),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether the message with this header is here.
    fn has_all_of(&self, header: &Header) -> bool {
        let filled = if self.long.is_empty() { self.head_filled } else { self.long_filled };
        filled >= header.size as usize
    }

    /// Receives more of the message. Returns false if the socket has nothing more.
    fn receive_part(&mut self, flags: RecvFlags) -> Result<bool, ConnectionError> {
        let is_first = self.head_filled == 0;
        let flags = if is_first { flags } else { RecvFlags::DONTWAIT };
        let (buffer, filled) = match self.header()?.map(|header| header.size as usize) {
            Some(size) if size > FIRST_READ => {
                if self.long.is_empty() {
                    self.long.extend_from_slice(&self.head[..self.head_filled]);
                    self.long_filled = self.head_filled;
                }
                self.long.resize(size.min(self.long_filled + GROWTH), 0);
                (&mut self.long[self.long_filled..], &mut self.long_filled)
            }
            // Past the end of this message only if nothing of it is here yet: descriptors that came
            // with its first part would else be taken for the next message's.
            known => {
                let end = known.unwrap_or(if is_first { FIRST_READ } else { HEADER_SIZE });
                (&mut self.head[self.head_filled..end], &mut self.head_filled)
            }
        };
        match receive(&mut self.journal, &self.socket, buffer, &mut self.fds, flags)? {
            Some(0) if is_first => Err(ConnectionError::Closed),
            Some(0) => Err(ConnectionError::ClosedWithinMessage),
            Some(bytes) => {
                *filled += bytes;
                self.received += bytes as u64;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// One call of recvmsg(2), or what does the same by way of the journal.
fn receive(
    journal: &mut Option<Box<Journal>>,
    socket: &OwnedFd,
    buffer: &mut [u8],
    fds: &mut MessageFds,
    flags: RecvFlags,
) -> Result<Option<usize>, Errno> {
    match journal {
        None => receive_some(socket, buffer, fds, flags),
        Some(journal) => journal.receive(socket, buffer, fds, flags),
    }
}

#[cfg(test)]
mod tests;
