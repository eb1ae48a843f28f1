//! The socket: whole messages in both directions, with descriptors, within a time limit.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg,
    socket_with,
};

use crate::message::{HEADER_LEN, Header, Message, header, message_len};

/// What is read from the socket at once, at least: more than any usual reply.
const CHUNK_LEN: usize = 4096;
/// The longest message that is received, unless another limit is set.
const MAX_MESSAGE_LEN: u32 = 32 << 20;
/// Room for descriptors with one message, in bytes of control data.
const CONTROL_LEN: usize = 2048;

/// Why there is no message, or none could be sent.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The server does not send, or does not read.
    #[error("nothing for {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The connection has ended, perhaps within a message.
    #[error("the server closed the connection")]
    Closed,
    /// Not the length of a message.
    #[error("it announces a message of {0} bytes")]
    Length(u32),
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] Errno),
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    timeout: Duration,
    max_message_len: u32,
    next_id: u16,
    /// What has been read and not been used.
    received: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Connection {
    /// Connects, and sends nothing yet. Neither this nor a message may take longer than `timeout`,
    /// which is not zero.
    ///
    /// # Errors
    /// The system's; [`Errno::AGAIN`] if the server does not accept in time.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, Errno> {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // connect(2) has this limit, too.
        set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
        rustix::net::connect(&socket, &address)?;
        Ok(Connection::on(socket, timeout))
    }

    /// A connection on a socket that is connected.
    pub fn on(socket: OwnedFd, timeout: Duration) -> Self {
        Connection {
            socket,
            timeout,
            max_message_len: MAX_MESSAGE_LEN,
            next_id: 0,
            received: Vec::new(),
            fds: Vec::new(),
        }
    }

    /// The same connection, with another limit for the length of a message.
    #[must_use]
    pub fn with_max_message_len(self, max_message_len: u32) -> Self {
        Connection { max_message_len, ..self }
    }

    /// The socket alone, for programs that measure or misbehave.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Whether the server has sent nothing that was not received.
    pub fn is_quiet(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.received.is_empty() && poll(&mut fds, Some(&now)) == Ok(0)
    }

    /// Whether a part of a message has come.
    pub fn is_within_message(&self) -> bool {
        !self.received.is_empty()
    }

    /// Sends a message and returns its id.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn send(
        &mut self,
        command: u16,
        flags: u32,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<u16, ReceiveError> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let head = header(id, command, message_len(payload), flags);
        self.send_bytes(&[&head, payload].concat(), fds)?;
        Ok(id)
    }

    /// Sends bytes as they are, with descriptors.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ReceiveError> {
        let deadline = Instant::now() + self.timeout;
        let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::TOOMANYREFS.into());
        }
        let mut sent = 0;
        while sent < bytes.len() {
            let parts = [IoSlice::new(&bytes[sent..])];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.socket, &parts, &mut control, flags) {
                Ok(count) => {
                    sent += count;
                    control.clear();
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ReceiveError::Closed),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Receives a header; the rest of the message is for [`Connection::receive_payload`].
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive_header(&mut self) -> Result<Header, ReceiveError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(header) = Header::decode(&self.received) {
                if !(HEADER_LEN..=self.max_message_len).contains(&header.size) {
                    return Err(ReceiveError::Length(header.size));
                }
                return Ok(header);
            }
            self.receive_some(HEADER_LEN as usize, deadline)?;
        }
    }

    /// Receives the rest of the message that begins with this header.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive_payload(&mut self, header: Header) -> Result<Message, ReceiveError> {
        let deadline = Instant::now() + self.timeout;
        let size = usize::try_from(header.size).map_err(|_| ReceiveError::Length(header.size))?;
        while self.received.len() < size {
            self.receive_some(size, deadline)?;
        }
        let payload = self.received.drain(..size).skip(HEADER_LEN as usize).collect();
        Ok(Message { header, payload, fds: std::mem::take(&mut self.fds) })
    }

    /// Receives a message.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive(&mut self) -> Result<Message, ReceiveError> {
        let header = self.receive_header()?;
        self.receive_payload(header)
    }

    /// Sends a command and receives the next message, which is the reply unless the server is wrong
    /// or has commands of its own.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn request(
        &mut self,
        command: u16,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Message, ReceiveError> {
        self.send(command, 0, payload, fds)?;
        self.receive()
    }

    /// Receives what is there until so many bytes are, and some more.
    fn receive_some(&mut self, wanted: usize, deadline: Instant) -> Result<(), ReceiveError> {
        let filled = self.received.len();
        // As much as has come so far once more, so that a length alone allocates nothing.
        let room = wanted.saturating_sub(filled).min(filled.max(CHUNK_LEN)).max(CHUNK_LEN);
        self.received.resize(filled + room, 0);
        let received = self.receive_into(filled, deadline);
        self.received.truncate(filled + received.as_ref().map_or(0, |bytes| *bytes));
        match received? {
            0 => Err(ReceiveError::Closed),
            _ => Ok(()),
        }
    }

    fn receive_into(&mut self, filled: usize, deadline: Instant) -> Result<usize, ReceiveError> {
        loop {
            let mut space = [MaybeUninit::uninit(); CONTROL_LEN];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut self.received[filled..])];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let received = recvmsg(&self.socket, &mut parts, &mut control, flags);
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    self.fds.extend(fds);
                }
            }
            match received {
                Ok(received) => return Ok(received.bytes),
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline)?,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(0),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn wait(&self, events: PollFlags, deadline: Instant) -> Result<(), ReceiveError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&self.socket, events)], timeout.as_ref()) {
            Ok(0) => Err(ReceiveError::Timeout(self.timeout)),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
