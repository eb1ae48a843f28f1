use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;
use crate::message::{GET_INFO, REPLY, info};

fn pair(timeout_ms: u64) -> (Connection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Connection::on(ours.into(), Duration::from_millis(timeout_ms)), theirs)
}

fn reply(id: u16, payload: &[u8]) -> Vec<u8> {
    [header(id, GET_INFO, message_len(payload), REPLY), payload.to_vec()].concat()
}

#[test]
fn two_messages_in_one_piece_are_two() {
    let (mut connection, mut server) = pair(20_000);
    assert!(connection.is_quiet());
    server.write_all(&[reply(1, b"one"), reply(2, b"")].concat()).unwrap();
    let (first, second) = (connection.receive().unwrap(), {
        assert!(!connection.is_quiet());
        connection.receive().unwrap()
    });
    assert_eq!((first.header.id, &first.payload[..]), (1, &b"one"[..]));
    assert_eq!((second.header.id, &second.payload[..]), (2, &b""[..]));
    assert!(connection.is_quiet());
}

#[test]
fn a_large_message_arrives_with_its_descriptors() {
    let (mut connection, server) = pair(20_000);
    let mut peer = Connection::on(server.into(), Duration::from_secs(20));
    let payload: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let sent = payload.clone();
    let sender = std::thread::spawn(move || {
        let fds = [std::io::stderr()];
        let fds = fds.each_ref().map(AsFd::as_fd);
        peer.send(GET_INFO, REPLY, &sent, &fds).unwrap();
    });
    let message = connection.receive().unwrap();
    sender.join().unwrap();
    assert_eq!((message.payload == payload, message.fds.len()), (true, 1));
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let (mut connection, server) = pair(10);
    let error = connection.request(GET_INFO, &info(16), &[]).unwrap_err();
    assert!(matches!(error, ReceiveError::Timeout(_)), "{error}");
    drop(server);
}

#[test]
fn an_end_within_a_message_is_an_end() {
    let (mut connection, mut server) = pair(20_000);
    server.write_all(&reply(1, b"cut")[..18]).unwrap();
    drop(server);
    assert!(matches!(connection.receive(), Err(ReceiveError::Closed)));
}

#[test]
fn a_length_alone_allocates_nothing() {
    let (mut connection, mut server) = pair(20_000);
    server.write_all(&header(1, GET_INFO, MAX_MESSAGE_LEN, REPLY)).unwrap();
    drop(server);
    assert!(matches!(connection.receive(), Err(ReceiveError::Closed)));
    assert!(connection.received.capacity() < 4 * CHUNK_LEN);
}

#[test]
fn impossible_lengths_are_named() {
    for length in [0, 15, MAX_MESSAGE_LEN + 1, u32::MAX] {
        let (mut connection, mut server) = pair(20_000);
        server.write_all(&header(1, GET_INFO, length, REPLY)).unwrap();
        let error = connection.receive().unwrap_err().to_string();
        assert_eq!(error, format!("it announces a message of {length} bytes"));
    }
}

#[test]
fn a_server_that_accepts_nothing_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let _listener = UnixListener::bind(&path).unwrap();
    // Until its backlog is full.
    let connections: Vec<_> =
        std::iter::repeat_with(|| Connection::connect(&path, Duration::from_millis(10)))
            .take_while(Result::is_ok)
            .take(100_000)
            .collect();
    let error = Connection::connect(&path, Duration::from_millis(10)).unwrap_err();
    assert_eq!((error, connections.len() < 100_000), (Errno::AGAIN, true));
}
