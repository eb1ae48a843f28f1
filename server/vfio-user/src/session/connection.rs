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

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use zerocopy::{FromBytes, IntoBytes};

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
}

impl MessageFds {
    fn push(&mut self, fd: OwnedFd) {
        if self.fds.len() < MAX_MESSAGE_FDS {
            self.fds.push(fd);
        } else {
            self.too_many = true;
        }
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
        }
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Receives until a message is complete.
    ///
    /// With `RecvFlags::DONTWAIT`, returns `None` as soon as the socket has nothing more; what has
    /// arrived of a message is kept for the next call.
    pub fn receive(&mut self, flags: RecvFlags) -> Result<Option<Message<'_>>, ConnectionError> {
        self.forget_last_message();
        loop {
            let Some(header) = self.header()? else {
                if !self.receive_head(flags)? {
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
                if !self.receive_head(flags)? {
                    return Ok(None);
                }
                continue;
            }
            if self.long.is_empty() {
                self.long.extend_from_slice(&self.head[..self.head_filled]);
                self.long_filled = self.head_filled;
            }
            if self.long_filled < size {
                if !self.receive_long(size, flags)? {
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

    fn receive_head(&mut self, flags: RecvFlags) -> Result<bool, ConnectionError> {
        // Past the end of this message only if nothing of it is here yet: descriptors that came with
        // its first part would else be taken for the next message's.
        let end = match self.header()? {
            None if self.head_filled == 0 => FIRST_READ,
            None => HEADER_SIZE,
            Some(header) => FIRST_READ.min(header.size as usize),
        };
        let buffer = &mut self.head[self.head_filled..end];
        match receive_some(&self.socket, buffer, &mut self.fds, flags)? {
            Some(0) if self.head_filled == 0 => Err(ConnectionError::Closed),
            Some(0) => Err(ConnectionError::ClosedWithinMessage),
            Some(bytes) => {
                self.head_filled += bytes;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn receive_long(&mut self, size: usize, flags: RecvFlags) -> Result<bool, ConnectionError> {
        let end = size.min(self.long_filled + GROWTH);
        self.long.resize(end, 0);
        let buffer = self.long.get_mut(self.long_filled..).unwrap_or_default();
        match receive_some(&self.socket, buffer, &mut self.fds, flags)? {
            Some(0) => Err(ConnectionError::ClosedWithinMessage),
            Some(bytes) => {
                self.long_filled += bytes;
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
                fds.too_many |= received.flags.contains(ReturnFlags::CTRUNC);
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
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (Connection, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        (Connection::new(Arc::new(ours)), theirs)
    }

    fn message(id: u16, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(HEADER_SIZE + payload.len()).unwrap();
        let header = Header { id, command: 13, size, flags: 0, error: 0 };
        [header.as_bytes(), payload].concat()
    }

    fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); 1200];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty());
        assert_eq!(sent.unwrap(), bytes.len());
    }

    fn next(connection: &mut Connection) -> (u16, Vec<u8>, usize) {
        let message = connection.receive(RecvFlags::DONTWAIT).unwrap().expect("a message");
        (message.header.id, message.payload.to_vec(), message.fds.fds.len())
    }

    #[test]
    fn a_part_of_a_message_is_waited_for_at_the_socket() {
        let (mut connection, client) = pair();
        let (first, second) = (message(1, b""), message(2, b""));
        send(&client, &[&first, &second[..5]].concat(), &[]);
        assert_eq!(next(&mut connection).0, 1);
        assert!(connection.has_buffered_bytes(), "five bytes nobody has looked at");
        assert!(connection.receive(RecvFlags::DONTWAIT).unwrap().is_none());
        assert!(!connection.has_buffered_bytes());
        send(&client, &second[5..], &[]);
        assert_eq!(next(&mut connection).0, 2);
        assert!(!connection.has_buffered_bytes());
    }

    #[test]
    fn glued_messages_of_every_length_come_apart() {
        let (mut connection, client) = pair();
        let lengths = [0, 0, 1, 15, 16, 17, 0, 40, 0, 5, 70_000, 3];
        let mut stream = Vec::new();
        for (id, length) in lengths.iter().enumerate() {
            stream.extend(message(id as u16, &vec![id as u8; *length]));
        }
        send(&client, &stream, &[]);
        for (id, length) in lengths.iter().enumerate() {
            assert_eq!(next(&mut connection), (id as u16, vec![id as u8; *length], 0));
        }
        assert!(connection.receive(RecvFlags::DONTWAIT).unwrap().is_none());
    }

    #[test]
    fn a_message_may_arrive_byte_by_byte() {
        let (mut connection, client) = pair();
        let bytes = [message(1, b"abc"), message(2, &[7; 100])].concat();
        let mut seen = Vec::new();
        for byte in bytes {
            send(&client, &[byte], &[]);
            if let Some(message) = connection.receive(RecvFlags::DONTWAIT).unwrap() {
                seen.push((message.header.id, message.payload.len()));
            }
        }
        assert_eq!(seen, [(1, 3), (2, 100)]);
    }

    #[test]
    fn descriptors_belong_to_the_message_they_were_sent_with() {
        let (mut connection, client) = pair();
        let fd = client.as_fd();
        send(&client, &message(1, b""), &[]);
        send(&client, &message(2, &[0; 32]), &[fd, fd]);
        send(&client, &message(3, &[0; 32]), &[]);
        send(&client, &message(4, b""), &[fd]);
        send(&client, &message(5, &[0; 16]), &[]);
        send(&client, &message(6, &[0; 20]), &[fd]);
        let fds: Vec<_> = (0..6).map(|_| next(&mut connection).2).collect();
        assert_eq!(fds, [0, 2, 0, 1, 0, 1]);
    }

    #[test]
    fn the_shortest_message_with_descriptors_keeps_them_when_the_next_was_sent_with_it() {
        let (mut connection, client) = pair();
        let set_irqs = message(1, &[0; 20]);
        send(&client, &[set_irqs, message(2, &[0; 32])].concat(), &[client.as_fd()]);
        assert_eq!([next(&mut connection).2, next(&mut connection).2], [1, 0]);
    }

    #[test]
    fn descriptors_of_a_messages_first_part_do_not_go_to_the_next_message() {
        let (mut connection, client) = pair();
        let (first, second) = (message(1, b""), message(2, &[0; 32]));
        send(&client, &first[..8], &[client.as_fd()]);
        assert!(connection.receive(RecvFlags::DONTWAIT).unwrap().is_none());
        send(&client, &[&first[8..], &second].concat(), &[]);
        assert_eq!(next(&mut connection), (1, vec![], 1));
        assert_eq!(next(&mut connection), (2, vec![0; 32], 0));
    }

    #[test]
    fn surplus_descriptors_are_closed_and_reported() {
        let (mut connection, client) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send(&client, &message(1, b""), &[writer.as_fd(); MAX_MESSAGE_FDS + 3]);
        drop(writer);
        let received = connection.receive(RecvFlags::DONTWAIT).unwrap().unwrap();
        assert!(received.fds.too_many);
        drop(received);
        // A pipe reads as ended when the last copy of its writing end is closed.
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0));
        send(&client, &message(2, b""), &[]);
        assert_eq!(next(&mut connection).0, 2);
    }

    #[test]
    fn sizes_that_cannot_be_true_end_the_connection() {
        for size in [0, 15, MAX_MESSAGE_SIZE as u32 + 1, u32::MAX] {
            let (mut connection, client) = pair();
            let header = Header { id: 9, command: 9, size, flags: 0, error: 0 };
            send(&client, header.as_bytes(), &[]);
            let result = connection.receive(RecvFlags::DONTWAIT).map(|message| message.is_some());
            assert!(matches!(result, Err(ConnectionError::Size { id: 9, .. })), "{size}");
        }
    }

    #[test]
    fn a_claimed_size_allocates_nothing_before_its_bytes_arrive() {
        let (mut connection, client) = pair();
        let size = MAX_MESSAGE_SIZE as u32;
        let header = Header { id: 1, command: 10, size, flags: 0, error: 0 };
        send(&client, header.as_bytes(), &[]);
        assert!(connection.receive(RecvFlags::DONTWAIT).unwrap().is_none());
        assert!(connection.long.capacity() <= 2 * GROWTH);
    }

    #[test]
    fn a_long_message_leaves_no_long_buffer_behind() {
        let (mut connection, client) = pair();
        send(&client, &message(1, &[0; 100_000]), &[]);
        assert_eq!(next(&mut connection).1.len(), 100_000);
        assert!(connection.receive(RecvFlags::DONTWAIT).unwrap().is_none());
        assert!(connection.long.capacity() <= KEPT);
    }

    #[test]
    fn the_end_of_the_stream_is_told_apart_from_a_cut_message() {
        let (mut connection, client) = pair();
        drop(client);
        assert!(matches!(connection.receive(RecvFlags::empty()), Err(ConnectionError::Closed)));
        let (mut connection, client) = pair();
        send(&client, &[1, 2, 3], &[]);
        drop(client);
        let result = connection.receive(RecvFlags::empty());
        assert!(matches!(result, Err(ConnectionError::ClosedWithinMessage)));
    }
}
