//! An EGD behind a stream socket: a socket file or a TCP port.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle, set_tcp_nodelay, socket_error};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    connect, getsockname, recv, send, socket_with,
};
use vfio_user_device::server::Listener;

use super::{EgdAddress, MAX_ASKED, Stop, requests};
use crate::source::SourceError;
use crate::source::mailbox::{Closed, Mailbox};
use crate::source::retry_backoff::RetryBackoff;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After how long of silence TCP asks whether the peer's machine is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// What sockets are made with.
const SOCKET_FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// What the worker has.
pub(super) struct Stream {
    side: Side,
    backoff: RetryBackoff,
}

/// Which side connects.
enum Side {
    Connecting(EgdAddress),
    Accepting(ListeningSocket),
}

/// Where the daemon connects to us.
enum ListeningSocket {
    Unix(Listener),
    Tcp(TcpListener),
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ListeningSocket::Unix(socket) => socket.socket().as_fd(),
            ListeningSocket::Tcp(socket) => socket.as_fd(),
        }
    }
}

impl Stream {
    /// Listens at the address, or will connect to it.
    ///
    /// # Errors
    /// It cannot be listened at.
    pub fn new(address: &EgdAddress, listen: bool) -> Result<Self, SourceError> {
        let side = if listen { listen_at(address)? } else { Side::Connecting(address.clone()) };
        Ok(Stream { side, backoff: RetryBackoff::new(format_args!("egd:{address}")) })
    }

    /// Connects, serves the device as long as the connection lasts, and begins again.
    pub fn run(mut self, mailbox: &Mailbox) -> Result<Infallible, Closed> {
        loop {
            let connected = self.connect(mailbox);
            let Err(stop) = connected.and_then(|socket| self.serve(&socket, mailbox));
            match stop {
                Stop::Closed => return Err(Closed),
                Stop::Failed(error) => mailbox.pause(self.backoff.failed(error))?,
            }
        }
    }

    fn connect(&mut self, mailbox: &Mailbox) -> Result<OwnedFd, Stop> {
        match &self.side {
            Side::Connecting(EgdAddress::Unix(path)) => {
                connect_to(&SocketAddrUnix::new(path)?, AddressFamily::UNIX, mailbox)
            }
            Side::Connecting(address) => {
                let mut failed = Stop::Failed(super::address::no_address());
                for address in address.resolve()? {
                    match connect_by_tcp(address, mailbox) {
                        Err(Stop::Failed(error)) => failed = Stop::Failed(error),
                        done => return done,
                    }
                }
                Err(failed)
            }
            Side::Accepting(socket) => loop {
                if mailbox.asked()? > 0 {
                    self.backoff.warn("no daemon is connected");
                }
                mailbox.wait(Some((socket.as_fd(), PollFlags::IN)), None)?;
                match accept_with(socket, SOCKET_FLAGS) {
                    Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                    accepted => break Ok(accepted?),
                }
            },
        }
    }

    /// Asks for what the device asks for, and takes that much.
    fn serve(&mut self, socket: &OwnedFd, mailbox: &Mailbox) -> Result<Infallible, Stop> {
        let mut buffer = [0; MAX_ASKED];
        let mut asking = Asking::default();
        loop {
            let asked = mailbox.asked()?.min(MAX_ASKED);
            if asked == 0 {
                until_asked(socket, mailbox)?;
                continue;
            }
            asking.ask(socket, asked);
            let answer = (socket.as_fd(), asking.events());
            let ready = mailbox.wait_for_answer(answer, &mut self.backoff)?;
            if ready.is_empty() || ready == PollFlags::OUT {
                continue;
            }
            match recv(socket, &mut buffer[..asked], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Stop::Failed(closed())),
                Ok((count, _)) => {
                    self.backoff.succeeded();
                    asking.owed = asking.owed.saturating_sub(count);
                    mailbox.deliver(&buffer[..count]);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// The requests of one connection.
#[derive(Default)]
struct Asking {
    /// Bytes that the peer was asked for and has not sent.
    owed: usize,
    /// Requests that the socket has not taken yet.
    unsent: Vec<u8>,
    /// Whether the peer does not listen to requests, or not any more. It may still send.
    deaf: bool,
}

impl Asking {
    /// Sends as many requests as are missing for that many bytes.
    fn ask(&mut self, socket: &OwnedFd, bytes: usize) {
        // While the socket is full nothing is added: a peer that sends on its own may never read.
        if self.unsent.is_empty() && bytes > self.owed {
            self.unsent.extend(requests(bytes - self.owed).flatten());
            self.owed = bytes;
        }
        if self.unsent.is_empty() || self.deaf {
            return;
        }
        match send(socket, &self.unsent, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) => {
                self.unsent.drain(..count);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // What it has sent is good; reading will tell when there is no more.
            Err(_) => self.deaf = true,
        }
    }

    /// What to wait for.
    fn events(&self) -> PollFlags {
        let send = !self.unsent.is_empty() && !self.deaf;
        PollFlags::IN | if send { PollFlags::OUT } else { PollFlags::empty() }
    }
}

/// Waits for a request, or for the end of a connection on which nothing is left to read.
fn until_asked(socket: &OwnedFd, mailbox: &Mailbox) -> Result<(), Stop> {
    let ready = mailbox.wait(Some((socket.as_fd(), PollFlags::RDHUP)), None)?;
    if ready.is_empty() {
        return Ok(());
    }
    match recv(socket, &mut [0], RecvFlags::DONTWAIT | RecvFlags::PEEK) {
        Ok((0, _)) => Err(Stop::Failed(closed())),
        // It is for the next request. The socket would be ready all the time.
        Ok(_) => Ok(mailbox.next_request().map(drop)?),
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn closed() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the peer closed the connection")
}

fn listen_at(address: &EgdAddress) -> Result<Side, SourceError> {
    let socket = if let EgdAddress::Unix(path) = address {
        // For processes of the same user: a peer that connects chooses the guest's random bytes.
        ListeningSocket::Unix(Listener::bind(path, 0o600)?)
    } else {
        let socket = listen_by_tcp(address)
            .map_err(|source| SourceError::Listen { address: address.clone(), source })?;
        ListeningSocket::Tcp(socket)
    };
    log::info!("waiting for random bytes at {address}");
    Ok(Side::Accepting(socket))
}

fn listen_by_tcp(address: &EgdAddress) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address.resolve()?.as_slice())?;
    socket.set_nonblocking(true)?;
    tune(&socket)?;
    Ok(socket)
}

fn connect_by_tcp(address: SocketAddr, mailbox: &Mailbox) -> Result<OwnedFd, Stop> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = connect_to(&address, family, mailbox)?;
    if getsockname(&socket)? == address.as_any() {
        return Err(Stop::Failed(super::address::connected_to_itself()));
    }
    tune(&socket)?;
    Ok(socket)
}

/// Lets requests leave at once, and a peer whose machine is gone be noticed. A listening socket
/// hands it down to those that it accepts.
fn tune(socket: impl AsFd) -> rustix::io::Result<()> {
    set_tcp_nodelay(&socket, true)?;
    set_socket_keepalive(&socket, true)?;
    set_tcp_keepidle(&socket, KEEP_ALIVE)
}

fn connect_to(
    address: &impl SocketAddrArg,
    family: AddressFamily,
    mailbox: &Mailbox,
) -> Result<OwnedFd, Stop> {
    let socket = socket_with(family, SocketType::STREAM, SOCKET_FLAGS, None)?;
    match connect(&socket, address) {
        Err(Errno::INPROGRESS | Errno::INTR) => until_connected(&socket, mailbox)?,
        done => done?,
    }
    Ok(socket)
}

fn until_connected(socket: &OwnedFd, mailbox: &Mailbox) -> Result<(), Stop> {
    let start = Instant::now();
    loop {
        let rest = CONNECT_TIMEOUT.saturating_sub(start.elapsed());
        let ready = mailbox.wait(Some((socket.as_fd(), PollFlags::OUT)), Some(rest))?;
        if !ready.is_empty() {
            return Ok(socket_error(socket)??);
        }
        if rest.is_zero() {
            return Err(Stop::Failed(ErrorKind::TimedOut.into()));
        }
    }
}

#[cfg(test)]
mod tests;
