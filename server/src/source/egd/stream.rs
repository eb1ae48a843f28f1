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
use vfio_user_kit::Listening;

use super::{EgdAddress, MAX_ASKED, Stop, requests};
use crate::source::SourceError;
use crate::source::mailbox::{Closed, Mailbox};
use crate::source::trouble::Trouble;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After how long of silence TCP asks whether the peer's machine is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// What sockets are made with.
const SOCKET_FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// What the worker has.
pub(super) struct Stream {
    side: Side,
    trouble: Trouble,
}

/// Who connects to whom.
enum Side {
    Connecting(EgdAddress),
    Accepting(ListeningSocket),
}

/// Where the daemon connects to us.
enum ListeningSocket {
    Unix(Listening),
    Tcp(TcpListener),
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ListeningSocket::Unix(socket) => socket.listener().as_fd(),
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
        Ok(Stream { side, trouble: Trouble::new(format_args!("egd:{address}")) })
    }

    /// Connects, serves the device as long as the connection lasts, and begins again.
    pub fn run(mut self, mailbox: &Mailbox) -> Result<Infallible, Closed> {
        loop {
            let connected = self.connect(mailbox);
            let Err(stop) = connected.and_then(|socket| self.serve(&socket, mailbox));
            match stop {
                Stop::Closed => return Err(Closed),
                Stop::Failed(error) => mailbox.pause(self.trouble.failed(error))?,
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
                    self.trouble.note("nobody is connected");
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
            let ready = mailbox.wait_for_answer(answer, &mut self.trouble)?;
            if ready.is_empty() || ready == PollFlags::OUT {
                continue;
            }
            match recv(socket, &mut buffer[..asked], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Stop::Failed(closed())),
                Ok((count, _)) => {
                    self.trouble.worked();
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
        // For processes of the same user: whoever connects chooses the guest's random bytes.
        ListeningSocket::Unix(Listening::at(path, 0o600)?)
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
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};

    use vfio_user_kit::Waker;

    use super::*;
    use crate::source::egd::open;
    use crate::source::testing::{
        DEADLINE, draw, draw_exactly, eventually, numbered, own_address, woken, woken_within,
    };
    use crate::source::{Drawn, Source};

    /// The other end of a connection.
    trait Peer: Read + Write + Send {
        /// Reads requests, and fails if they are not these.
        fn expect(&mut self, expected: &[[u8; 2]]) {
            let mut received = vec![[0; 2]; expected.len()];
            self.read_exact(received.as_flattened_mut()).unwrap();
            assert_eq!(received, expected);
        }
    }

    impl Peer for UnixStream {}
    impl Peer for TcpStream {}

    /// A daemon that listens, or the address of a source that does.
    enum Transport {
        Unix(tempfile::TempDir),
        Tcp(SocketAddr),
    }

    /// A listening socket.
    enum Daemon {
        Unix(UnixListener),
        Tcp(TcpListener),
    }

    impl Transport {
        /// One of each kind, at which nobody listens.
        fn all() -> [Transport; 2] {
            let free = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
            [Transport::Unix(tempfile::tempdir().unwrap()), Transport::Tcp(free)]
        }

        fn address(&self) -> EgdAddress {
            match self {
                Transport::Unix(folder) => EgdAddress::Unix(folder.path().join("egd")),
                Transport::Tcp(address) => {
                    EgdAddress::Tcp { host: address.ip().to_string(), port: address.port() }
                }
            }
        }

        fn open(&self, listen: bool, waker: &Waker) -> Box<dyn Source> {
            open(&self.address(), listen, waker.clone()).unwrap()
        }

        fn listen(&self) -> Daemon {
            match self {
                Transport::Unix(folder) => {
                    Daemon::Unix(UnixListener::bind(folder.path().join("egd")).unwrap())
                }
                Transport::Tcp(address) => Daemon::Tcp(TcpListener::bind(address).unwrap()),
            }
        }

        fn connect(&self) -> Box<dyn Peer> {
            match self {
                Transport::Unix(folder) => {
                    let peer = UnixStream::connect(folder.path().join("egd")).unwrap();
                    peer.set_read_timeout(Some(DEADLINE)).unwrap();
                    Box::new(peer)
                }
                Transport::Tcp(address) => {
                    let peer = TcpStream::connect(address).unwrap();
                    peer.set_read_timeout(Some(DEADLINE)).unwrap();
                    Box::new(peer)
                }
            }
        }
    }

    impl Daemon {
        fn accept(&self) -> Box<dyn Peer> {
            let mut peer: Option<Box<dyn Peer>> = None;
            eventually("the source connects", || {
                peer = match self {
                    Daemon::Unix(socket) => {
                        socket.set_nonblocking(true).unwrap();
                        socket.accept().ok().map(|(peer, _)| {
                            peer.set_read_timeout(Some(DEADLINE)).unwrap();
                            Box::new(peer) as Box<dyn Peer>
                        })
                    }
                    Daemon::Tcp(socket) => {
                        socket.set_nonblocking(true).unwrap();
                        socket.accept().ok().map(|(peer, _)| {
                            peer.set_read_timeout(Some(DEADLINE)).unwrap();
                            Box::new(peer) as Box<dyn Peer>
                        })
                    }
                };
                peer.is_some()
            });
            peer.unwrap()
        }
    }

    /// Runs a test with a daemon that a source has connected to, over each transport.
    fn with_daemon(test: impl Fn(&Daemon, Box<dyn Peer>, &mut dyn Source, &Waker)) {
        for transport in Transport::all() {
            let daemon = transport.listen();
            let waker = Waker::new().unwrap();
            let mut source = transport.open(false, &waker);
            test(&daemon, daemon.accept(), &mut *source, &waker);
        }
    }

    #[test]
    fn a_daemon_is_asked_for_what_the_device_asks_for() {
        with_daemon(|_, mut peer, source, waker| {
            assert_eq!(source.draw(&mut [0; 100]), Drawn::WhenWoken);
            peer.expect(&[[2, 100]]);
            peer.write_all(&numbered(100)).unwrap();
            assert_eq!(draw_exactly(source, waker, 100), numbered(100));
            assert_eq!(source.draw(&mut [0; 1]), Drawn::WhenWoken);
            peer.expect(&[[2, 1]]);
        });
    }

    #[test]
    fn long_requests_are_split_and_on_their_way_together() {
        with_daemon(|_, mut peer, source, waker| {
            assert_eq!(source.draw(&mut [0; 600]), Drawn::WhenWoken);
            peer.expect(&[[2, 255], [2, 255], [2, 90]]);
            peer.write_all(&numbered(600)).unwrap();
            assert_eq!(draw_exactly(source, waker, 600), numbered(600));
            assert_eq!(source.draw(&mut [0; 100_000]), Drawn::WhenWoken);
            peer.expect(&[[2, 255]; 16]);
            peer.write_all(&numbered(16 * 255)).unwrap();
            assert_eq!(draw_exactly(source, waker, 16 * 255), numbered(16 * 255));
            assert_eq!(source.draw(&mut [0; 7]), Drawn::WhenWoken);
            peer.expect(&[[2, 7]]);
        });
    }

    #[test]
    fn what_is_missing_when_the_connection_is_lost_is_asked_of_the_next() {
        with_daemon(|daemon, mut peer, source, waker| {
            assert_eq!(source.draw(&mut [0; 100]), Drawn::WhenWoken);
            peer.expect(&[[2, 100]]);
            peer.write_all(&numbered(100)[..30]).unwrap();
            drop(peer);
            let mut bytes = draw_exactly(source, waker, 30);
            assert_eq!(source.draw(&mut [0; 70]), Drawn::WhenWoken);
            let mut peer = daemon.accept();
            peer.expect(&[[2, 70]]);
            peer.write_all(&numbered(100)[30..]).unwrap();
            bytes.extend(draw_exactly(source, waker, 70));
            assert_eq!(bytes, numbered(100));
        });
    }

    #[test]
    fn a_request_that_was_not_answered_at_all_is_asked_again() {
        with_daemon(|daemon, mut peer, source, waker| {
            assert_eq!(source.draw(&mut [0; 8]), Drawn::WhenWoken);
            for _ in 0..3 {
                peer.expect(&[[2, 8]]);
                drop(peer);
                peer = daemon.accept();
            }
            peer.write_all(&[9; 8]).unwrap();
            assert_eq!(draw_exactly(source, waker, 8), [9; 8]);
        });
    }

    #[test]
    fn an_answer_that_was_forgotten_is_for_the_next_requests() {
        with_daemon(|_, mut peer, source, waker| {
            assert_eq!(source.draw(&mut [0; 100]), Drawn::WhenWoken);
            peer.expect(&[[2, 100]]);
            // The device was reset, and asks for less.
            assert_eq!(source.draw(&mut [0; 40]), Drawn::WhenWoken);
            peer.write_all(&numbered(100)).unwrap();
            let mut bytes = draw_exactly(source, waker, 40);
            bytes.extend(draw_exactly(source, waker, 60));
            assert_eq!(bytes, numbered(100));
            assert_eq!(source.draw(&mut [0; 5]), Drawn::WhenWoken);
            peer.expect(&[[2, 5]]);
        });
    }

    #[test]
    fn a_peer_that_streams_is_held_up_and_loses_nothing() {
        with_daemon(|_, mut peer, source, waker| {
            let stream = numbered(1 << 25);
            let expected = stream[..1_000_000].to_vec();
            // It ends when the source is dropped and hangs up.
            let sent = std::thread::spawn(move || peer.write_all(&stream));
            let mut bytes = draw_exactly(source, waker, 10);
            assert_eq!(source.draw(&mut [0; 1]), Drawn::WhenWoken, "no more than was asked for");
            while bytes.len() < expected.len() {
                let size = (expected.len() - bytes.len()).min(1 + bytes.len() % 5000);
                bytes.extend(draw(source, waker, size));
            }
            assert!(bytes == expected);
            assert!(!sent.is_finished(), "it is more than sockets hold");
        });
    }

    #[test]
    fn a_peer_that_only_sends_is_listened_to() {
        let transport = &Transport::all()[0];
        let waker = Waker::new().unwrap();
        let mut source = transport.open(true, &waker);
        let mut peer = UnixStream::connect(match transport.address() {
            EgdAddress::Unix(path) => path,
            _ => unreachable!(),
        })
        .unwrap();
        peer.shutdown(Shutdown::Read).unwrap();
        for number in 0..10 {
            assert_eq!(source.draw(&mut [0; 4]), Drawn::WhenWoken);
            peer.write_all(&[number; 4]).unwrap();
            assert_eq!(draw_exactly(&mut *source, &waker, 4), [number; 4]);
        }
    }

    #[test]
    fn a_daemon_that_is_started_later_is_found() {
        for transport in Transport::all() {
            let waker = Waker::new().unwrap();
            let mut source = transport.open(false, &waker);
            assert_eq!(source.draw(&mut [0; 4]), Drawn::WhenWoken);
            assert!(!woken_within(&waker, Duration::from_millis(20)));
            let daemon = transport.listen();
            let mut peer = daemon.accept();
            peer.expect(&[[2, 4]]);
            peer.write_all(&[1, 2, 3, 4]).unwrap();
            assert_eq!(draw_exactly(&mut *source, &waker, 4), [1, 2, 3, 4]);
        }
    }

    #[test]
    fn a_connection_that_is_lost_while_nobody_asks_is_made_again() {
        with_daemon(|daemon, mut peer, source, waker| {
            for _ in 0..3 {
                drop(peer);
                peer = daemon.accept();
            }
            assert!(!woken(waker), "nobody has asked");
            assert_eq!(source.draw(&mut [0; 1]), Drawn::WhenWoken);
            peer.expect(&[[2, 1]]);
        });
    }

    #[test]
    fn what_a_peer_has_sent_before_it_went_is_there_when_it_is_asked_for() {
        with_daemon(|daemon, mut peer, source, waker| {
            peer.write_all(&[1, 2, 3, 4, 5]).unwrap();
            drop(peer);
            assert_eq!(draw_exactly(source, waker, 2), [1, 2]);
            assert_eq!(draw_exactly(source, waker, 3), [3, 4, 5]);
            assert_eq!(source.draw(&mut [0; 6]), Drawn::WhenWoken);
            daemon.accept().expect(&[[2, 6]]);
        });
    }

    #[test]
    fn peers_that_connect_are_asked_one_after_the_other() {
        for transport in Transport::all() {
            let waker = Waker::new().unwrap();
            let mut source = transport.open(true, &waker);
            assert_eq!(source.draw(&mut [0; 4]), Drawn::WhenWoken);
            let mut first = transport.connect();
            first.expect(&[[2, 4]]);
            let mut second = transport.connect();
            first.write_all(&[1; 4]).unwrap();
            assert_eq!(draw_exactly(&mut *source, &waker, 4), [1; 4]);
            drop(first);
            assert_eq!(source.draw(&mut [0; 5]), Drawn::WhenWoken);
            second.expect(&[[2, 5]]);
            second.write_all(&[2; 5]).unwrap();
            assert_eq!(draw_exactly(&mut *source, &waker, 5), [2; 5]);
        }
    }

    #[test]
    fn an_address_that_is_taken_is_refused_by_name() {
        for transport in Transport::all() {
            let _daemon = transport.listen();
            let Err(error) = open(&transport.address(), true, Waker::new().unwrap()) else {
                panic!("{} is taken", transport.address());
            };
            let address = transport.address().to_string();
            let name = address.strip_prefix("unix:").unwrap_or(&address);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_source_that_is_dropped_hangs_up() {
        with_daemon(|_, mut peer, source, _| {
            assert_eq!(source.draw(&mut [0; 1]), Drawn::WhenWoken);
            peer.expect(&[[2, 1]]);
        });
        for transport in Transport::all() {
            let daemon = transport.listen();
            let source = transport.open(false, &Waker::new().unwrap());
            let mut peer = daemon.accept();
            drop(source);
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn a_listening_source_that_is_dropped_leaves_its_address() {
        for transport in Transport::all() {
            let source = transport.open(true, &Waker::new().unwrap());
            let mut peer = transport.connect();
            drop(source);
            assert!(!matches!(peer.read(&mut [0]), Ok(1)));
            transport.listen();
        }
    }

    #[test]
    fn a_name_without_an_address_is_tried_again_and_can_be_dropped() {
        let waker = Waker::new().unwrap();
        let address = EgdAddress::Tcp { host: "nobody.invalid".into(), port: 1 };
        let mut source = open(&address, false, waker.clone()).unwrap();
        assert_eq!(source.draw(&mut [0; 4]), Drawn::WhenWoken);
        let start = Instant::now();
        drop(source);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
