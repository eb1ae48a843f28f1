//! What two processes of an exchange say to each other, over a socket pair.
//!
//! A message is its length, the number of its descriptors, the descriptors (64 at most with one
//! byte), and JSON.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ExchangeError;
use crate::state::{Descriptors, DeviceState};

/// Version of these messages. Both sides have to have the same one.
pub(crate) const VERSION: u32 = 1;

/// Descriptors beside one byte: the kernel takes 253 at most.
const MAX_FDS_AT_ONCE: usize = 64;
/// Longest message in bytes.
const MAX_LENGTH: u32 = 64 << 20;
/// Most descriptors of a message: those of a device with all its vectors and regions.
const MAX_FDS: u32 = 1 << 17;

/// What the process that goes says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromOld<D> {
    /// One of its servers.
    Server(D),
    /// What the program around them keeps, and its own sockets by name.
    Program(DeviceState),
    /// That was all.
    End,
    /// The new process serves from now on.
    Go,
}

/// What the process that comes says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromNew {
    /// It has started.
    Hello {
        /// Of the messages.
        version: u32,
    },
    /// It has the descriptors of a message.
    Taken,
    /// It could serve at once.
    Ready,
    /// It cannot, and why.
    Failed(String),
}

/// One end of the socket pair.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: UnixStream,
    deadline: Instant,
}

impl Channel {
    /// This end. Nothing takes longer than until the deadline.
    pub fn new(socket: UnixStream, deadline: Instant) -> Self {
        Channel { socket, deadline }
    }

    /// Moves the deadline.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The other side has ended, or does not read.
    pub fn send(
        &mut self,
        message: &impl Serialize,
        fds: &Descriptors,
    ) -> Result<(), ExchangeError> {
        let json = serde_json::to_vec(message).map_err(io::Error::from)?;
        let fds = fds.borrow();
        let length = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_LENGTH);
        let count = u32::try_from(fds.len()).ok().filter(|count| *count <= MAX_FDS);
        let too_much = || ExchangeError::Message("a state is too long".into());
        let (length, count) = length.zip(count).ok_or_else(too_much)?;
        self.socket.set_write_timeout(Some(self.left()?))?;
        let head = [length.to_ne_bytes(), count.to_ne_bytes()].concat();
        self.socket.write_all(&head)?;
        for some in fds.chunks(MAX_FDS_AT_ONCE) {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS_AT_ONCE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(some));
            let byte = [IoSlice::new(&[0])];
            while let Err(errno) = sendmsg(&self.socket, &byte, &mut control, SendFlags::NOSIGNAL) {
                if errno != Errno::INTR {
                    return Err(io::Error::from(errno).into());
                }
            }
        }
        Ok(self.socket.write_all(&json)?)
    }

    /// Receives a message.
    ///
    /// # Errors
    /// The other side has ended, or says nothing in time, or something else than was expected.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<(T, Descriptors), ExchangeError> {
        let mut head = [0; 8];
        self.read(&mut head)?;
        let [a, b, c, d, e, f, g, h] = head;
        let (length, count) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
        if length > MAX_LENGTH || count > MAX_FDS {
            return Err(ExchangeError::Message(format!("a message of {length} bytes")));
        }
        let mut fds = Vec::new();
        while fds.len() < count as usize {
            self.receive_fds(&mut fds)?;
        }
        let mut json = vec![0; length as usize];
        self.read(&mut json)?;
        let message = serde_json::from_slice(&json);
        let message = message.map_err(|error| ExchangeError::Message(error.to_string()))?;
        Ok((message, Descriptors::arrived(fds)))
    }

    fn receive_fds(&mut self, fds: &mut Vec<OwnedFd>) -> Result<(), ExchangeError> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS_AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut buffers = [IoSliceMut::new(&mut byte)];
        let received =
            match recvmsg(&self.socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => received,
                Err(Errno::INTR) => return Ok(()),
                Err(errno) => return Err(io::Error::from(errno).into()),
            };
        if received.bytes == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::from(Errno::MFILE).into());
        }
        let before = fds.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if fds.len() == before {
            return Err(ExchangeError::Message("a descriptor is missing".into()));
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), ExchangeError> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        Ok(self.socket.read_exact(buffer)?)
    }

    /// Time left; never nothing, which would be endless for the kernel.
    fn left(&self) -> Result<Duration, ExchangeError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ExchangeError::Silent) } else { Ok(left) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn pair() -> [Channel; 2] {
        let (one, other) = UnixStream::pair().unwrap();
        [one, other].map(|end| Channel::new(end, Instant::now() + Duration::from_secs(20)))
    }

    #[test]
    fn messages_come_with_all_their_descriptors() {
        let [mut one, mut other] = pair();
        let file = tempfile::tempfile().unwrap();
        let mut fds = Descriptors::default();
        let numbers: Vec<_> = (0..150).map(|_| fds.add(file.as_fd()).unwrap()).collect();
        one.send(&"150", &fds).unwrap();
        one.send(&"none", &Descriptors::default()).unwrap();
        let (text, mut arrived) = other.receive::<String>().unwrap();
        assert_eq!(text, "150");
        for number in numbers {
            arrived.take(number).unwrap();
        }
        let (text, arrived) = other.receive::<String>().unwrap();
        assert_eq!((text.as_str(), arrived.borrow().len()), ("none", 0));
    }

    #[test]
    fn silence_and_an_end_are_told_apart() {
        let [mut one, other] = pair();
        one.set_deadline(Instant::now() + Duration::from_millis(5));
        assert!(matches!(one.receive::<String>().unwrap_err(), ExchangeError::Silent));
        one.set_deadline(Instant::now() + Duration::from_secs(20));
        drop(other);
        assert!(matches!(one.receive::<String>().unwrap_err(), ExchangeError::Ended));
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_memory_is_had_for_it() {
        let [mut one, other] = pair();
        (&other.socket).write_all(&[0xff; 8]).unwrap();
        assert!(matches!(one.receive::<String>().unwrap_err(), ExchangeError::Message(_)));
    }
}
