use vfio_user_device::Waker;

use super::*;
use crate::source::egd::{Local, open};
use crate::source::testing::{
    DEADLINE, eventually, numbered, own_address, read_exactly, woken_within,
};
use crate::source::{ReadOutcome, Source};

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((own_address(), 0)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

fn address_of(socket: &UdpSocket) -> EgdAddress {
    let address = socket.local_addr().unwrap();
    EgdAddress::Udp { host: address.ip().to_string(), port: address.port(), local: None }
}

/// A daemon, and a source that asks it.
fn daemon() -> (UdpSocket, Box<dyn Source>, Waker) {
    let (daemon, waker) = (socket(), Waker::new().unwrap());
    let source = open(&address_of(&daemon), false, waker.clone()).unwrap();
    (daemon, source, waker)
}

/// A source that listens, and where.
fn listening() -> (SocketAddr, Box<dyn Source>, Waker) {
    let (before, waker) = (socket(), Waker::new().unwrap());
    let (address, named) = (before.local_addr().unwrap(), address_of(&before));
    drop(before);
    (address, open(&named, true, waker.clone()).unwrap(), waker)
}

/// Receives one request, and fails if it is not this one.
fn expect(socket: &UdpSocket, expected: [u8; 2]) -> SocketAddr {
    let mut buffer = [0; 100];
    let (count, sender) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..count], expected);
    sender
}

#[test]
fn each_request_is_a_datagram() {
    let (daemon, mut source, waker) = daemon();
    assert_eq!(source.read(&mut [0; 300]), ReadOutcome::Pending);
    expect(&daemon, [2, 255]);
    let sender = expect(&daemon, [2, 45]);
    daemon.send_to(&numbered(300)[..255], sender).unwrap();
    daemon.send_to(&numbered(300)[255..], sender).unwrap();
    assert_eq!(read_exactly(&mut *source, &waker, 300), numbered(300));
    assert_eq!(source.read(&mut [0; 1]), ReadOutcome::Pending);
    expect(&daemon, [2, 1]);
}

#[test]
fn requests_come_from_the_local_address() {
    let (daemon, waker) = (socket(), Waker::new().unwrap());
    let own = socket().local_addr().unwrap();
    let local = Some(Local { host: Some(own.ip().to_string()), port: own.port() });
    let EgdAddress::Udp { host, port, .. } = address_of(&daemon) else { unreachable!() };
    let named = EgdAddress::Udp { host, port, local };
    let mut source = open(&named, false, waker.clone()).unwrap();
    assert_eq!(source.read(&mut [0; 1]), ReadOutcome::Pending);
    assert_eq!(expect(&daemon, [2, 1]), own);
    daemon.send_to(&[7], own).unwrap();
    assert_eq!(read_exactly(&mut *source, &waker, 1), [7]);
}

#[test]
fn a_datagram_that_got_lost_is_asked_for_again() {
    let (daemon, mut source, waker) = daemon();
    assert_eq!(source.read(&mut [0; 100]), ReadOutcome::Pending);
    let sender = expect(&daemon, [2, 100]);
    daemon.send_to(&numbered(100)[..30], sender).unwrap();
    let mut bytes = read_exactly(&mut *source, &waker, 30);
    assert_eq!(source.read(&mut [0; 70]), ReadOutcome::Pending);
    expect(&daemon, [2, 70]);
    expect(&daemon, [2, 70]);
    daemon.send_to(&numbered(100)[30..], sender).unwrap();
    bytes.extend(read_exactly(&mut *source, &waker, 70));
    assert_eq!(bytes, numbered(100));
}

#[test]
fn a_daemon_that_is_started_later_is_found() {
    let waker = Waker::new().unwrap();
    let before = socket();
    let (address, named) = (before.local_addr().unwrap(), address_of(&before));
    drop(before);
    let mut source = open(&named, false, waker.clone()).unwrap();
    assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
    assert!(!woken_within(&waker, Duration::from_millis(20)));
    let daemon = UdpSocket::bind(address).unwrap();
    daemon.set_read_timeout(Some(DEADLINE)).unwrap();
    let sender = expect(&daemon, [2, 4]);
    daemon.send_to(&[1, 2, 3, 4], sender).unwrap();
    assert_eq!(read_exactly(&mut *source, &waker, 4), [1, 2, 3, 4]);
}

#[test]
fn surplus_is_kept_for_the_next_request() {
    let (daemon, mut source, waker) = daemon();
    assert_eq!(source.read(&mut [0; 10]), ReadOutcome::Pending);
    let sender = expect(&daemon, [2, 10]);
    daemon.send_to(&numbered(20_000), sender).unwrap();
    let mut bytes = read_exactly(&mut *source, &waker, 10);
    bytes.extend(read_exactly(&mut *source, &waker, 19_990));
    assert!(bytes == numbered(20_000));
    assert_eq!(source.read(&mut [0; 3]), ReadOutcome::Pending);
    expect(&daemon, [2, 3]);
}

#[test]
fn bytes_of_strangers_are_not_taken() {
    let (daemon, mut source, waker) = daemon();
    assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
    let sender = expect(&daemon, [2, 4]);
    socket().send_to(&[66; 4], sender).unwrap();
    daemon.send_to(&[1; 4], sender).unwrap();
    assert_eq!(read_exactly(&mut *source, &waker, 4), [1; 4]);
}

#[test]
fn listening_source_asks_the_last_sender() {
    let (address, mut source, waker) = listening();
    let peers = [socket(), socket()];
    assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
    for (number, peer) in (1..).zip(&peers) {
        peer.send_to(&[], address).unwrap();
        let sender = expect(peer, [2, 4]);
        peer.send_to(&[number; 4], sender).unwrap();
        assert_eq!(read_exactly(&mut *source, &waker, 4), [number; 4]);
        // For the next one, so that it is asked at once.
        source.read(&mut [0; 4]);
        expect(peer, [2, 4]);
    }
}

#[test]
fn each_address_of_a_name_is_tried() {
    // Names have an IPv6 address too, often; no process listens there.
    let (daemon, waker) = (UdpSocket::bind("127.0.0.1:0").unwrap(), Waker::new().unwrap());
    daemon.set_read_timeout(Some(DEADLINE)).unwrap();
    let port = daemon.local_addr().unwrap().port();
    let address = EgdAddress::Udp { host: "localhost".into(), port, local: None };
    let mut source = open(&address, false, waker.clone()).unwrap();
    assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
    let sender = expect(&daemon, [2, 4]);
    daemon.send_to(&[7; 4], sender).unwrap();
    assert_eq!(read_exactly(&mut *source, &waker, 4), [7; 4]);
}

#[test]
fn a_peer_that_streams_needs_no_request() {
    let (address, mut source, waker) = listening();
    let peer = socket();
    for number in 1..100 {
        peer.send_to(&[number; 10], address).unwrap();
        assert_eq!(read_exactly(&mut *source, &waker, 10), [number; 10]);
    }
}

#[test]
fn a_source_that_is_dropped_leaves_its_port() {
    let (address, mut source, _waker) = listening();
    assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
    drop(source);
    eventually("the port is free", || UdpSocket::bind(address).is_ok());
}

#[test]
fn a_port_that_is_taken_is_refused_by_name() {
    let taken = socket();
    let address = address_of(&taken);
    let Err(error) = open(&address, true, Waker::new().unwrap()) else {
        panic!("{address} is taken");
    };
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
