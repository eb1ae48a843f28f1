//! The journal, as a process finds it that takes another one's place.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;

#[test]
fn what_was_received_is_found_until_the_next_epoch() {
    let map = Map::new().unwrap();
    let mut journal = Journal::new(&map);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = OwnedFd::from(ours);
    let (mut fds, mut buffer) = (MessageFds::default(), [0; 8]);
    let mut receive = |journal: &mut Journal| {
        journal.receive(&socket, &mut buffer, &mut fds, RecvFlags::DONTWAIT).unwrap()
    };
    assert_eq!(receive(&mut journal), None);
    assert!(Pending::of(&map).received.is_empty());
    theirs.write_all(b"0123456789").unwrap();
    assert_eq!(receive(&mut journal), Some(8));
    assert_eq!(Pending::of(&map).received, b"01234567");
    assert_eq!(receive(&mut journal), Some(2));
    assert_eq!(Pending::of(&map).received, b"0123456789");
    map.commit(0, 1);
    assert!(Pending::of(&map).received.is_empty());
    journal.begin_epoch();
    theirs.write_all(b"ab").unwrap();
    assert_eq!(receive(&mut journal), Some(2));
    assert_eq!(Pending::of(&map).received, b"ab");
}

#[test]
fn an_answer_counts_from_the_commit_until_it_is_sent() {
    let map = Map::new().unwrap();
    let mut journal = Journal::new(&map);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    assert!(journal.stage([b"head", b"", b"rest"], None));
    assert!(Pending::of(&map).unsent.is_empty());
    map.commit(map.copies() ^ OUTGOING_BIT, map.epoch());
    assert_eq!(Pending::of(&map).unsent, b"headrest");
    journal.transmit(ours.as_fd()).unwrap();
    assert!(Pending::of(&map).unsent.is_empty());
    let mut answer = [0; 8];
    theirs.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"headrest");
}

#[test]
fn an_answer_of_which_a_part_was_sent_is_completed() {
    let map = Map::new().unwrap();
    let mut journal = Journal::new(&map);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let long: Vec<u8> = (0..MAX_OUTGOING).map(|place| (place % 251) as u8).collect();
    // Two of them are more than a socket holds.
    let mut received = Vec::new();
    for _ in 0..2 {
        assert!(journal.stage([&long, b"", b""], None));
        map.commit(map.copies() ^ OUTGOING_BIT, map.epoch());
        if journal.transmit(ours.as_fd()) == Err(Errno::AGAIN) {
            break;
        }
    }
    let unsent = Pending::of(&map).unsent;
    assert!(!unsent.is_empty() && unsent.len() < 2 * long.len(), "{}", unsent.len());
    theirs.set_nonblocking(true).unwrap();
    let _ = theirs.read_to_end(&mut received);
    received.extend(&unsent);
    assert_eq!(received.len() % long.len(), 0);
    assert!(received.chunks(long.len()).all(|part| part == long));
}

#[test]
fn descriptors_stay_open_until_the_message_is_carried_out() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let map = Map::new().unwrap();
    let mut journal = Journal::new(&map);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = [theirs.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&passed));
    let bytes = [std::io::IoSlice::new(b"x")];
    sendmsg(&theirs, &bytes, &mut control, SendFlags::empty()).unwrap();
    let (mut fds, mut buffer) = (MessageFds::default(), [0; 8]);
    let socket = OwnedFd::from(ours);
    journal.receive(&socket, &mut buffer, &mut fds, RecvFlags::empty()).unwrap();
    assert_eq!(fds.fds.len(), 1);
    drop(fds);
    let named = Pending::of(&map).received_fds;
    let open = |fd: RawFd| std::fs::exists(format!("/proc/self/fd/{fd}")).unwrap();
    assert!(matches!(named.as_slice(), [fd] if open(*fd)));
    map.commit(0, 1);
    journal.begin_epoch();
    assert!(Pending::of(&map).received_fds.is_empty());
}
