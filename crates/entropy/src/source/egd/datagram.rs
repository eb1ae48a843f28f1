//! An EGD behind a UDP port: each request is a datagram, and so is each answer.
//!
//! Datagrams get lost: bytes that have not come after a second are requested again. Bytes beyond the
//! request are for the next one, and no further datagram is read until they are used up. A listening
//! source sends its requests to the sender of the last datagram; an empty datagram is enough.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::address::unspecified;
use super::{EgdAddress, MAX_ASKED, Stop, requests};
use crate::source::SourceError;
use crate::source::mailbox::{Closed, Mailbox};
use crate::source::retry_backoff::RetryBackoff;

/// How long an answer may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest datagram there can be.
const MAX_DATAGRAM_LEN: usize = 65536;

/// What the worker has.
pub(super) struct Datagrams {
    side: Side,
    /// What has come and was not asked for yet: the rest of one datagram.
    unused: Vec<u8>,
    /// How often a socket was made, to try one address of a name after the other.
    attempts: usize,
    backoff: RetryBackoff,
}

/// Which side sends the first datagram.
enum Side {
    Connecting(EgdAddress),
    Listening(UdpSocket),
}

impl Datagrams {
    /// Takes datagrams at the address, or will send some to it.
    ///
    /// # Errors
    /// It cannot be listened at.
    pub fn new(address: &EgdAddress, listen: bool) -> Result<Self, SourceError> {
        let side = if listen {
            let socket = bind(address)
                .map_err(|source| SourceError::Listen { address: address.clone(), source })?;
            log::warn!(
                "egd:{address}: any process that can send datagrams there chooses the random bytes; \
                 use a unix socket, or connect to the daemon, where users are not trusted"
            );
            Side::Listening(socket)
        } else {
            Side::Connecting(address.clone())
        };
        let backoff = RetryBackoff::new(format_args!("egd:{address}"));
        Ok(Datagrams { side, unused: Vec::new(), attempts: 0, backoff })
    }

    /// Serves the device until something fails, and begins again.
    pub fn run(mut self, mailbox: &Mailbox) -> Result<Infallible, Closed> {
        loop {
            let Err(stop) = self.serve(mailbox);
            match stop {
                Stop::Closed => return Err(Closed),
                Stop::Failed(error) => mailbox.pause(self.backoff.failed(error))?,
            }
        }
    }

    fn serve(&mut self, mailbox: &Mailbox) -> Result<Infallible, Stop> {
        let mut peer = match &self.side {
            Side::Connecting(address) => {
                let attempt = self.attempts;
                self.attempts = attempt.wrapping_add(1);
                Peer::connect(address, attempt)?
            }
            Side::Listening(socket) => Peer::unknown(socket.try_clone()?),
        };
        let mut buffer = vec![0; MAX_DATAGRAM_LEN];
        loop {
            let asked = mailbox.next_request()?.min(MAX_ASKED);
            if !self.unused.is_empty() {
                let count = asked.min(self.unused.len());
                mailbox.deliver(&self.unused[..count]);
                self.unused.drain(..count);
                continue;
            }
            let sender = peer.address;
            // Before a request is sent: an answer may have come while there was no request.
            let received = peer.receive(&mut buffer)?;
            if let (Some(before), Side::Listening(_)) = (sender, &self.side) {
                if let Some(now) = peer.address.filter(|now| *now != before) {
                    let name = self.backoff.name();
                    log::warn!("{name}: the bytes come from {now} now, and not from {before}");
                }
            }
            match received {
                Some(bytes) => {
                    self.unused.extend(bytes);
                    if !bytes.is_empty() {
                        self.backoff.succeeded();
                    }
                    continue;
                }
                None if peer.address.is_none() => {
                    self.backoff.warn("no datagram has come yet");
                }
                None if peer.is_late() => {
                    self.backoff.warn("no answer");
                    peer.owed = 0;
                }
                None => {}
            }
            match (peer.ask(asked), &self.side) {
                // The peer is known from its datagrams alone, and not to be forgotten.
                (Err(error), Side::Listening(_)) => self.backoff.warn(error),
                (sent, _) => sent?,
            }
            mailbox.wait(Some((peer.socket.as_fd(), PollFlags::IN)), peer.time_left())?;
        }
    }
}

/// The other side, as far as it is known.
struct Peer {
    socket: UdpSocket,
    address: Option<SocketAddr>,
    /// Bytes that it was asked for and has not sent.
    owed: usize,
    /// When it was asked the last time.
    asked_at: Instant,
}

impl Peer {
    fn unknown(socket: UdpSocket) -> Self {
        Peer { socket, address: None, owed: 0, asked_at: Instant::now() }
    }

    /// A socket that takes datagrams from that address alone, or at the next attempt from another
    /// one of the same name.
    fn connect(address: &EgdAddress, attempt: usize) -> io::Result<Self> {
        let local = match address {
            EgdAddress::Udp { local, .. } => local.as_ref(),
            _ => None,
        };
        let addresses = address.resolve()?;
        let address = addresses.get(attempt % addresses.len().max(1));
        let address = *address.ok_or_else(super::address::no_address)?;
        let own = match local {
            Some(local) => local.resolve(address)?,
            None => unspecified(address, 0),
        };
        let socket = UdpSocket::bind(own)?;
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
        if socket.local_addr()? == address {
            return Err(super::address::connected_to_itself());
        }
        Ok(Peer { address: Some(address), ..Peer::unknown(socket) })
    }

    /// The next datagram, if there is one.
    fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match self.socket.recv_from(buffer) {
            Ok((count, sender)) => {
                if self.address.replace(sender) != Some(sender) {
                    // Another one, which was not asked yet.
                    self.owed = 0;
                }
                self.owed = self.owed.saturating_sub(count);
                Ok(Some(&buffer[..count]))
            }
            Err(error) if is_for_later(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for what is missing for that many bytes.
    fn ask(&mut self, bytes: usize) -> io::Result<()> {
        let Some(address) = self.address.filter(|_| bytes > self.owed) else {
            return Ok(());
        };
        let missing = bytes - self.owed;
        self.owed = bytes;
        self.asked_at = Instant::now();
        for request in requests(missing) {
            match self.socket.send_to(&request, address) {
                // As good as a datagram that got lost.
                Err(error) if is_for_later(&error) => {}
                sent => drop(sent?),
            }
        }
        Ok(())
    }

    /// Whether an answer should have come.
    fn is_late(&self) -> bool {
        self.time_left().is_some_and(|rest| rest.is_zero())
    }

    /// How long its answer may still take, if it was asked.
    fn time_left(&self) -> Option<Duration> {
        (self.owed > 0).then(|| REPLY_TIMEOUT.saturating_sub(self.asked_at.elapsed()))
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn bind(address: &EgdAddress) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address.resolve()?.as_slice())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
