//! Messages cut, glued and with descriptors.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use zerocopy::IntoBytes;

use super::*;
use crate::protocol::wire::MAX_MESSAGE_FDS;

fn pair() -> (Connection, OwnedFd) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
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
    assert!(connection.has_buffered_bytes(), "five bytes of the next message");
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

#[test]
fn a_message_that_is_not_finished_ends_the_connection_with_a_reason() {
    for (sent, flags) in [
        (3, RecvFlags::empty()),
        (20, RecvFlags::empty()),
        (3000, RecvFlags::empty()),
        (20, RecvFlags::DONTWAIT),
    ] {
        let (mut connection, client) = pair();
        connection.message_timeout = Duration::from_millis(20);
        send(&client, &message(1, &[0; 5000])[..sent], &[]);
        let end = loop {
            match connection.receive(flags) {
                Ok(None) => assert!(connection.message_deadline().is_some(), "to wait until then"),
                Ok(Some(_)) => panic!("a message of {sent} bytes"),
                Err(end) => break end,
            }
        };
        let size = if sent < HEADER_SIZE { HEADER_SIZE } else { 5016 };
        let reason = format!(
            "the client sent {sent} of {size} bytes of a message, and not the rest within 5 s"
        );
        assert_eq!(end.to_string(), reason);
    }
}

#[test]
fn what_has_arrived_is_looked_at_however_late() {
    let (mut connection, client) = pair();
    connection.message_timeout = Duration::ZERO;
    let bytes = message(1, &[0; 5000]);
    send(&client, &bytes[..20], &[]);
    connection.rest_due = Some(Instant::now());
    send(&client, &bytes[20..], &[]);
    assert_eq!(next(&mut connection).1.len(), 5000);
    assert!(
        connection.receive(RecvFlags::DONTWAIT).unwrap().is_none(),
        "the next has its own time"
    );
    assert_eq!(connection.message_deadline(), None);
}
