use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use vfio_user_device::Waker;

use super::*;
use crate::source::egd::open;
use crate::source::testing::{
    DEADLINE, eventually, numbered, own_address, read, read_exactly, woken, woken_within,
};
use crate::source::{ReadOutcome, Source};

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
    /// One of each kind, at which no process listens.
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
        assert_eq!(source.read(&mut [0; 100]), ReadOutcome::Pending);
        peer.expect(&[[2, 100]]);
        peer.write_all(&numbered(100)).unwrap();
        assert_eq!(read_exactly(source, waker, 100), numbered(100));
        assert_eq!(source.read(&mut [0; 1]), ReadOutcome::Pending);
        peer.expect(&[[2, 1]]);
    });
}

#[test]
fn long_requests_are_split_and_on_their_way_together() {
    with_daemon(|_, mut peer, source, waker| {
        assert_eq!(source.read(&mut [0; 600]), ReadOutcome::Pending);
        peer.expect(&[[2, 255], [2, 255], [2, 90]]);
        peer.write_all(&numbered(600)).unwrap();
        assert_eq!(read_exactly(source, waker, 600), numbered(600));
        assert_eq!(source.read(&mut [0; 100_000]), ReadOutcome::Pending);
        peer.expect(&[[2, 255]; 16]);
        peer.write_all(&numbered(16 * 255)).unwrap();
        assert_eq!(read_exactly(source, waker, 16 * 255), numbered(16 * 255));
        assert_eq!(source.read(&mut [0; 7]), ReadOutcome::Pending);
        peer.expect(&[[2, 7]]);
    });
}

#[test]
fn what_is_missing_when_the_connection_is_lost_is_asked_of_the_next() {
    with_daemon(|daemon, mut peer, source, waker| {
        assert_eq!(source.read(&mut [0; 100]), ReadOutcome::Pending);
        peer.expect(&[[2, 100]]);
        peer.write_all(&numbered(100)[..30]).unwrap();
        drop(peer);
        let mut bytes = read_exactly(source, waker, 30);
        assert_eq!(source.read(&mut [0; 70]), ReadOutcome::Pending);
        let mut peer = daemon.accept();
        peer.expect(&[[2, 70]]);
        peer.write_all(&numbered(100)[30..]).unwrap();
        bytes.extend(read_exactly(source, waker, 70));
        assert_eq!(bytes, numbered(100));
    });
}

#[test]
fn a_request_that_was_not_answered_at_all_is_asked_again() {
    with_daemon(|daemon, mut peer, source, waker| {
        assert_eq!(source.read(&mut [0; 8]), ReadOutcome::Pending);
        for _ in 0..3 {
            peer.expect(&[[2, 8]]);
            drop(peer);
            peer = daemon.accept();
        }
        peer.write_all(&[9; 8]).unwrap();
        assert_eq!(read_exactly(source, waker, 8), [9; 8]);
    });
}

#[test]
fn an_answer_that_was_forgotten_is_for_the_next_requests() {
    with_daemon(|_, mut peer, source, waker| {
        assert_eq!(source.read(&mut [0; 100]), ReadOutcome::Pending);
        peer.expect(&[[2, 100]]);
        // The device was reset, and asks for less.
        assert_eq!(source.read(&mut [0; 40]), ReadOutcome::Pending);
        peer.write_all(&numbered(100)).unwrap();
        let mut bytes = read_exactly(source, waker, 40);
        bytes.extend(read_exactly(source, waker, 60));
        assert_eq!(bytes, numbered(100));
        assert_eq!(source.read(&mut [0; 5]), ReadOutcome::Pending);
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
        let mut bytes = read_exactly(source, waker, 10);
        assert_eq!(source.read(&mut [0; 1]), ReadOutcome::Pending, "no more than was asked for");
        while bytes.len() < expected.len() {
            let size = (expected.len() - bytes.len()).min(1 + bytes.len() % 5000);
            bytes.extend(read(source, waker, size));
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
        assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
        peer.write_all(&[number; 4]).unwrap();
        assert_eq!(read_exactly(&mut *source, &waker, 4), [number; 4]);
    }
}

#[test]
fn a_daemon_that_is_started_later_is_found() {
    for transport in Transport::all() {
        let waker = Waker::new().unwrap();
        let mut source = transport.open(false, &waker);
        assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
        assert!(!woken_within(&waker, Duration::from_millis(20)));
        let daemon = transport.listen();
        let mut peer = daemon.accept();
        peer.expect(&[[2, 4]]);
        peer.write_all(&[1, 2, 3, 4]).unwrap();
        assert_eq!(read_exactly(&mut *source, &waker, 4), [1, 2, 3, 4]);
    }
}

#[test]
fn connection_lost_without_a_request_is_made_again() {
    with_daemon(|daemon, mut peer, source, waker| {
        for _ in 0..3 {
            drop(peer);
            peer = daemon.accept();
        }
        assert!(!woken(waker), "there is no request");
        assert_eq!(source.read(&mut [0; 1]), ReadOutcome::Pending);
        peer.expect(&[[2, 1]]);
    });
}

#[test]
fn what_a_peer_has_sent_before_it_went_is_there_when_it_is_asked_for() {
    with_daemon(|daemon, mut peer, source, waker| {
        peer.write_all(&[1, 2, 3, 4, 5]).unwrap();
        drop(peer);
        assert_eq!(read_exactly(source, waker, 2), [1, 2]);
        assert_eq!(read_exactly(source, waker, 3), [3, 4, 5]);
        assert_eq!(source.read(&mut [0; 6]), ReadOutcome::Pending);
        daemon.accept().expect(&[[2, 6]]);
    });
}

#[test]
fn peers_that_connect_are_asked_one_after_the_other() {
    for transport in Transport::all() {
        let waker = Waker::new().unwrap();
        let mut source = transport.open(true, &waker);
        assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
        let mut first = transport.connect();
        first.expect(&[[2, 4]]);
        let mut second = transport.connect();
        first.write_all(&[1; 4]).unwrap();
        assert_eq!(read_exactly(&mut *source, &waker, 4), [1; 4]);
        drop(first);
        assert_eq!(source.read(&mut [0; 5]), ReadOutcome::Pending);
        second.expect(&[[2, 5]]);
        second.write_all(&[2; 5]).unwrap();
        assert_eq!(read_exactly(&mut *source, &waker, 5), [2; 5]);
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
        assert_eq!(source.read(&mut [0; 1]), ReadOutcome::Pending);
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
    let address = EgdAddress::Tcp { host: "host.invalid".into(), port: 1 };
    let mut source = open(&address, false, waker.clone()).unwrap();
    assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
    let start = Instant::now();
    drop(source);
    assert!(start.elapsed() < Duration::from_secs(5));
}
