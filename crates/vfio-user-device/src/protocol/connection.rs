//! Messages over a stream socket: where one ends, and which file descriptors belong to it.
//!
//! A stream has no message boundaries, and descriptors travel beside the bytes. The kernel ends a
//! recvmsg(2) after a piece that carries descriptors, so they always belong to the last message
//! that a call has seen bytes of. [`Connection`] never asks for more than 36 bytes before it knows
//! a message's size: that takes a whole register access in one call. It can reach into the next
//! message, whose descriptors then come early, but only in a message's first call, so that two
//! messages' descriptors never meet.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::descriptors::with_remedy;
use crate::wire::{HEADER_SIZE, Header, MAX_MESSAGE_FDS, MAX_MESSAGE_SIZE};

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

/// How long a client may take to send the rest of a message. No later message can be read before.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most pieces of 4 KiB that are thrown away at a connection's end: more than a socket holds.
const DISCARDED_PIECES: usize = 128;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The other side is gone between two messages.
    #[error("closed by the client")]
    Closed,
    /// The other side is gone within a message.
    #[error("closed by the client within a message")]
    ClosedWithinMessage,
    /// The client has begun a message and does not go on with it.
    #[error(
        "the client sent {received} of {expected} bytes of a message, and not the rest within {} s",
        MESSAGE_TIMEOUT.as_secs()
    )]
    MessageTimeout { received: usize, expected: usize },
    /// The size in a header cannot be true, so that nobody knows where the next message starts.
    #[error(
        "message {id} announces {size} bytes, {HEADER_SIZE} to {MAX_MESSAGE_SIZE} are possible"
    )]
    Size { id: u16, size: u32 },
    /// The first message is something else than VERSION, or a VERSION that cannot be agreed on.
    #[error("no agreement on a protocol version: {0}")]
    Negotiation(String),
    /// A socket that it should read from has been full for too long.
    #[error("the client does not read its socket")]
    NotReading,
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] Errno),
}

/// File descriptors that came with a message. Dropping them closes them.
#[derive(Debug, Default)]
pub(crate) struct MessageFds {
    pub fds: Vec<OwnedFd>,
    /// More came than [`MAX_MESSAGE_FDS`]; the surplus is closed already.
    pub too_many: bool,
    /// Some are missing: this process could open no more descriptors.
    pub missing: bool,
}

impl MessageFds {
    fn push(&mut self, fd: OwnedFd) {
        if self.fds.len() < MAX_MESSAGE_FDS {
            self.fds.push(fd);
        } else {
            self.too_many = true;
        }
    }

    /// Whether all have come that fit into a message.
    ///
    /// # Errors
    /// `EMFILE`: this process could not open some of them.
    pub fn check_complete(&self) -> Result<(), Errno> {
        if !self.missing {
            return Ok(());
        }
        log::warn!("descriptors of a client are lost: {}", with_remedy(&Errno::MFILE));
        Err(Errno::MFILE)
    }

    /// Whether any came.
    pub fn any(&self) -> bool {
        self.too_many || !self.fds.is_empty()
    }
}

/// One message, whole.
pub(crate) struct Message<'c> {
    pub header: Header,
    pub payload: &'c [u8],
    pub fds: MessageFds,
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
    /// as it takes.
    ///
    /// # Errors
    /// [`ConnectionError::MessageTimeout`] among others, in both cases.
    pub fn receive(&mut self, flags: RecvFlags) -> Result<Option<Message<'_>>, ConnectionError> {
        self.forget_last_message();
        loop {
            let Some(header) = self.header()? else {
                if !self.receive_head(flags)? && !self.wait_for_rest(flags)? {
                    return Ok(None);
                }
                continue;
            };
            let size = header.size as usize;
            if size <= self.head_filled && self.long.is_empty() {
                self.consumed = size;
                // Bytes of a next message are here already: the kernel would have stopped before
                // them if the descriptors were this message's.
                let fds = if self.head_filled > size {
                    MessageFds::default()
                } else {
                    std::mem::take(&mut self.fds)
                };
                let payload = self.head.get(HEADER_SIZE..size).unwrap_or_default();
                return Ok(Some(Message { header, payload, fds }));
            }
            if size <= FIRST_READ {
                if !self.receive_head(flags)? && !self.wait_for_rest(flags)? {
                    return Ok(None);
                }
                continue;
            }
            if self.long.is_empty() {
                self.long.extend_from_slice(&self.head[..self.head_filled]);
                self.long_filled = self.head_filled;
            }
            if self.long_filled < size {
                if !self.receive_long(size)? && !self.wait_for_rest(flags)? {
                    return Ok(None);
                }
                continue;
            }
            self.consumed = self.head_filled;
            let fds = std::mem::take(&mut self.fds);
            let payload = self.long.get(HEADER_SIZE..size).unwrap_or_default();
            return Ok(Some(Message { header, payload, fds }));
        }
    }

    /// Whether bytes lie here that came with the last message and that nobody has looked at, so
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

    /// Sends one message with one sendmsg(2), as clients expect that read a header in one piece.
    pub fn send(
        &self,
        header: &Header,
        payload: [&[u8]; 2],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ConnectionError> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = fd.map(|fd| [fd]);
        if let Some(fds) = &fds {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let parts = [header.as_bytes(), payload[0], payload[1]];
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
        if self.head_filled < HEADER_SIZE {
            return Ok(None);
        }
        let Ok((header, _)) = Header::read_from_prefix(&self.head) else {
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
        self.wait(due)?;
        Ok(true)
    }

    /// Sleeps until the socket can be read, or the deadline is there.
    pub fn wait(&self, deadline: Instant) -> Result<(), Errno> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn receive_head(&mut self, flags: RecvFlags) -> Result<bool, ConnectionError> {
        // Past the end of this message only if nothing of it is here yet: descriptors that came with
        // its first part would else be taken for the next message's.
        let end = match self.header()? {
            None if self.head_filled == 0 => FIRST_READ,
            None => HEADER_SIZE,
            Some(header) => FIRST_READ.min(header.size as usize),
        };
        let flags = if self.head_filled == 0 { flags } else { RecvFlags::DONTWAIT };
        let buffer = &mut self.head[self.head_filled..end];
        match receive_some(&self.socket, buffer, &mut self.fds, flags)? {
            Some(0) if self.head_filled == 0 => Err(ConnectionError::Closed),
            Some(0) => Err(ConnectionError::ClosedWithinMessage),
            Some(bytes) => {
                self.head_filled += bytes;
                self.received += bytes as u64;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn receive_long(&mut self, size: usize) -> Result<bool, ConnectionError> {
        let end = size.min(self.long_filled + GROWTH);
        self.long.resize(end, 0);
        let buffer = self.long.get_mut(self.long_filled..).unwrap_or_default();
        match receive_some(&self.socket, buffer, &mut self.fds, RecvFlags::DONTWAIT)? {
            Some(0) => Err(ConnectionError::ClosedWithinMessage),
            Some(bytes) => {
                self.long_filled += bytes;
                self.received += bytes as u64;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// One recvmsg(2): the number of bytes, 0 at the end of the stream, `None` if it would block.
fn receive_some(
    socket: &OwnedFd,
    buffer: &mut [u8],
    fds: &mut MessageFds,
    flags: RecvFlags,
) -> Result<Option<usize>, ConnectionError> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_MESSAGE_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    loop {
        let mut buffers = [IoSliceMut::new(buffer)];
        match recvmsg(socket, &mut buffers, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => {
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(received) = message {
                        received.for_each(|fd| fds.push(fd));
                    }
                }
                if received.flags.contains(ReturnFlags::CTRUNC) {
                    // There was room for more than this message may have, or else for more than
                    // this process may open.
                    fds.missing |= fds.fds.len() < MAX_MESSAGE_FDS;
                    fds.too_many = true;
                }
                return Ok(Some(received.bytes));
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::CONNRESET) => return Ok(Some(0)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests;
