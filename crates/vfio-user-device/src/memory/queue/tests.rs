//! Accesses and the replies that they need, right and wrong.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::*;
use crate::memory::DmaCompletion;
use crate::protocol::wire::{Command, DmaMapFlags, HeaderFlags};

const BOTH: DmaMapFlags = DmaMapFlags::all();
const LARGEST: usize = 1000;

impl DmaQueue {
    fn read(&mut self, address: u64, length: usize, tag: u64) -> Result<(), Rejected> {
        let place = vec![Segment { address, length }];
        self.access(Owner::Device(tag), place, Vec::new(), length)
    }

    fn write(&mut self, address: u64, data: Vec<u8>, tag: u64) -> Result<(), Rejected> {
        self.scatter_for_device(vec![Segment { address, length: data.len() }], data, tag)
    }

    fn scatter_for_device(
        &mut self,
        segments: Vec<Segment>,
        data: Vec<u8>,
        tag: u64,
    ) -> Result<(), Rejected> {
        self.access(Owner::Device(tag), segments, data, 0)
    }
}

fn space() -> DmaSpace {
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let mut space = DmaSpace::default();
    space.map(0, 4096, BOTH, Some((OwnedFd::from(file), 0))).unwrap();
    space.map(4096, 4096, BOTH, None).unwrap();
    space
}

/// What a client would answer to `request` from a memory in which each byte is the low byte
/// of its address.
fn answer(request: &MessageRequest<'_>) -> (Header, Vec<u8>) {
    let mut payload = request.access.as_bytes().to_vec();
    if request.header.command == Command::DmaRead as u16 {
        let address = |offset| request.access.address.wrapping_add(offset);
        payload.extend((0..request.access.count).map(|offset| address(offset) as u8));
    }
    (Header { flags: HeaderFlags::REPLY.bits(), ..request.header }, payload)
}

/// An ended access as the device is told of it.
fn completion(ended: Ended) -> DmaCompletion {
    match ended.owner {
        Owner::Device(tag) => DmaCompletion { tag, result: ended.result },
        Owner::Task(_) => panic!("the device has asked for it"),
    }
}

/// Runs an access to its end and counts the messages it took.
fn run(queue: &mut DmaQueue, space: &DmaSpace) -> (DmaCompletion, usize) {
    let mut messages = 0;
    loop {
        let (header, payload) = match queue.step(space, true, LARGEST) {
            Step::Done(done) => return (completion(done), messages),
            Step::Send(request) => answer(&request),
            Step::Copied => continue,
            Step::Idle => panic!("nothing to do"),
        };
        messages += 1;
        assert!(queue.reply(&header, &payload));
    }
}

#[test]
fn a_read_may_cross_from_mapped_memory_to_memory_by_message() {
    let (mut queue, space) = (DmaQueue::default(), space());
    queue.write(4090, vec![7; 6], 1).unwrap();
    queue.read(4090, 2010, 2).unwrap();
    assert_eq!(run(&mut queue, &space).0, DmaCompletion { tag: 1, result: Ok(vec![7; 6]) });
    let (done, messages) = run(&mut queue, &space);
    let expected: Vec<u8> = [vec![7; 6], (4096..6100_u64).map(|a| a as u8).collect()].concat();
    assert_eq!(done, DmaCompletion { tag: 2, result: Ok(expected) });
    assert_eq!(messages, 3, "split at the client's limit");
}

#[test]
fn bytes_are_scattered_over_places_mapped_or_not() {
    let (mut queue, space) = (DmaQueue::default(), space());
    let segment = |address, length| Segment { address, length };
    let data: Vec<u8> = (0..100).collect();
    let places =
        [segment(10, 3), segment(4090, 10), segment(0, 0), segment(20, 1000), segment(9, 9)];
    queue.scatter_for_device(places.to_vec(), data.clone(), 1).unwrap();
    let (done, messages) = run(&mut queue, &space);
    assert_eq!((done, messages), (DmaCompletion { tag: 1, result: Ok(data.clone()) }, 1));
    for (address, range) in [(10, 0..3), (4090, 3..9), (20, 13..100)] {
        queue.read(address, range.len(), 2).unwrap();
        assert_eq!(run(&mut queue, &space).0.result, Ok(data[range].to_vec()));
    }
    queue.scatter_for_device(vec![segment(0, 2)], data.clone(), 3).unwrap();
    assert!(run(&mut queue, &space).0.result.is_ok(), "what does not fit is not written");
    queue.scatter_for_device(vec![segment(0, 2), segment(9000, 2)], data, 4).unwrap();
    let (done, _) = run(&mut queue, &space);
    assert_eq!(done.result, Err(DmaError::NotMapped { address: 9000 }));
}

/// Steps that only copy, until the access is over.
fn steps(queue: &mut DmaQueue, space: &DmaSpace) -> (usize, DmaCompletion) {
    let mut steps = 0;
    loop {
        match queue.step(space, true, LARGEST) {
            Step::Copied => steps += 1,
            Step::Done(done) => return (steps, completion(done)),
            _ => panic!("only copies are expected"),
        }
    }
}

#[test]
fn a_long_access_is_copied_in_steps() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(MAX_LENGTH as u64).unwrap();
    let (mut queue, mut space) = (DmaQueue::default(), DmaSpace::default());
    space.map(0, MAX_LENGTH as u64, BOTH, Some((OwnedFd::from(file), 0))).unwrap();
    let data: Vec<u8> = (0..MAX_LENGTH).map(|offset| (offset % 251) as u8).collect();
    queue.write(0, data.clone(), 1).unwrap();
    let (count, done) = steps(&mut queue, &space);
    assert_eq!((count, done), (255, DmaCompletion { tag: 1, result: Ok(data.clone()) }));
    queue.read(0, MAX_LENGTH, 2).unwrap();
    let (count, done) = steps(&mut queue, &space);
    assert_eq!((count, done), (255, DmaCompletion { tag: 2, result: Ok(data) }));
    let places = (0..1000).map(|address| Segment { address, length: 1 }).collect();
    queue.scatter_for_device(places, vec![7; 1000], 3).unwrap();
    assert_eq!(steps(&mut queue, &space).0, 3, "many places take time, too");
}

#[test]
fn memory_that_is_unmapped_between_two_steps_is_not_touched() {
    let (mut queue, mut space) = (DmaQueue::default(), space());
    queue.write(0, vec![7; 4096], 1).unwrap();
    queue
        .scatter_for_device(vec![Segment { address: 0, length: 1 }; 300], vec![7; 300], 2)
        .unwrap();
    assert!(run(&mut queue, &space).0.result.is_ok());
    assert!(matches!(queue.step(&space, true, LARGEST), Step::Copied));
    assert!(space.unmap(0, 4096));
    let (done, _) = run(&mut queue, &space);
    assert_eq!(done, DmaCompletion { tag: 2, result: Err(DmaError::NotMapped { address: 0 }) });
}

#[test]
fn accesses_that_cannot_be_done_say_where_they_failed() {
    let (mut queue, space) = (DmaQueue::default(), space());
    queue.read(8190, 4, 1).unwrap();
    let (done, _) = run(&mut queue, &space);
    assert_eq!(done.result, Err(DmaError::NotMapped { address: 8192 }));
    queue.read(0, 4, 2).unwrap();
    let Step::Done(done) = queue.step(&space, false, LARGEST) else { panic!() };
    assert_eq!(done.result, Err(DmaError::NotBusMaster));
    let mut space = space;
    space.map(u64::MAX, 1, BOTH, None).unwrap();
    queue.read(u64::MAX, 2, 3).unwrap();
    let (done, _) = run(&mut queue, &space);
    assert_eq!(done.result, Err(DmaError::NotMapped { address: 0 }), "no way around the end");
}

#[test]
fn rejections_and_nonsense_replies_fail_the_access_and_only_it() {
    let (mut queue, space) = (DmaQueue::default(), space());
    let breakages: [fn(&mut Header, &mut Vec<u8>); 6] = [
        |header, _| (header.flags, header.error) = (0x21, 5),
        |header, _| (header.flags, header.error) = (0x21, 0),
        |header, _| (header.flags, header.error) = (0x21, u32::MAX),
        |_, payload| payload.truncate(3),
        |_, payload| payload[8] ^= 1,
        |_, payload| payload.push(0),
    ];
    let mut errnos = Vec::new();
    for breakage in breakages {
        queue.read(5000, 10, 1).unwrap();
        let Step::Send(request) = queue.step(&space, true, LARGEST) else { panic!() };
        let (mut header, mut payload) = answer(&request);
        breakage(&mut header, &mut payload);
        assert!(queue.reply(&header, &payload));
        let Step::Done(done) = queue.step(&space, true, LARGEST) else { panic!() };
        let Err(DmaError::Refused { errno, address: 5000 }) = done.result else { panic!() };
        errnos.push(errno);
    }
    let [io, inval, proto] = [Errno::IO, Errno::INVAL, Errno::PROTO].map(Errno::raw_os_error);
    assert_eq!(errnos, [io, inval, inval, proto, proto, proto]);
    queue.read(5000, 10, 2).unwrap();
    assert!(run(&mut queue, &space).0.result.is_ok());
}

#[test]
fn replies_without_a_request_change_nothing() {
    let (mut queue, space) = (DmaQueue::default(), space());
    queue.read(5000, 10, 1).unwrap();
    let Step::Send(request) = queue.step(&space, true, LARGEST) else { panic!() };
    let (header, payload) = answer(&request);
    assert!(!queue.reply(&Header { id: header.id ^ 1, ..header }, &payload));
    assert!(queue.reply(&header, &payload));
    assert!(!queue.reply(&header, &payload));
}

#[test]
fn an_abandoned_message_fails_its_access_and_its_late_reply_is_dropped() {
    let (mut queue, space) = (DmaQueue::default(), space());
    queue.read(5000, 10, 1).unwrap();
    let Step::Send(request) = queue.step(&space, true, LARGEST) else { panic!() };
    let (header, payload) = answer(&request);
    assert!(queue.in_flight().any(|message| message.touches(4096, 4096)));
    assert!(!queue.in_flight().any(|message| message.touches(0, 4096)));
    assert!(queue.abandon_in_flight().unwrap().result.is_err());
    assert!(queue.reply(&header, &payload), "late");
    assert!(!queue.reply(&header, &payload), "twice");
    assert!(!queue.is_ready());
}

#[test]
fn every_released_form_of_a_writes_reply_is_understood() {
    let (mut queue, space) = (DmaQueue::default(), space());
    let with_count =
        |address: u64, count: u32| [&address.to_ne_bytes()[..], &count.to_ne_bytes()].concat();
    let proto = Err(DmaError::Refused { address: 5000, errno: Errno::PROTO.raw_os_error() });
    for (payload, result) in [
        (vec![], Ok(vec![7; 10])),
        (with_count(5000, 10), Ok(vec![7; 10])),
        (with_count(5000, 9), proto.clone()),
        (with_count(5001, 10), proto.clone()),
        (vec![0; 11], proto),
    ] {
        queue.write(5000, vec![7; 10], 1).unwrap();
        let Step::Send(request) = queue.step(&space, true, LARGEST) else { panic!() };
        let (header, _) = answer(&request);
        assert!(queue.reply(&header, &payload));
        let Step::Done(done) = queue.step(&space, true, LARGEST) else { panic!() };
        assert_eq!(done.result, result, "{payload:?}");
    }
}

#[test]
fn an_answer_by_another_command_is_the_end_of_the_access() {
    let (mut queue, space) = (DmaQueue::default(), space());
    for cancelled in [false, true] {
        queue.read(5000, 10, 1).unwrap();
        let Step::Send(request) = queue.step(&space, true, LARGEST) else { panic!() };
        let (header, payload) = answer(&request);
        if cancelled {
            queue.clear();
        }
        assert!(queue.reply(&Header { command: 12, ..header }, &payload));
        if !cancelled {
            let Step::Done(done) = queue.step(&space, true, LARGEST) else { panic!() };
            let error = DmaError::Refused { address: 5000, errno: Errno::PROTO.raw_os_error() };
            assert_eq!(done.result, Err(error));
        }
        assert!(!queue.is_outstanding());
    }
}

#[test]
fn cancelled_messages_are_known_when_their_replies_come() {
    let (mut queue, space) = (DmaQueue::default(), space());
    let mut replies = Vec::new();
    for _ in 0..MAX_GIVEN_UP {
        queue.read(5000, 10, 1).unwrap();
        let Step::Send(request) = queue.step(&space, true, LARGEST) else { panic!() };
        replies.push(answer(&request));
        queue.clear();
    }
    queue.read(5000, 10, 2).unwrap();
    assert!(!queue.is_ready(), "the client has enough to answer");
    assert!(matches!(queue.step(&space, true, LARGEST), Step::Idle));
    for (header, payload) in replies {
        assert!(queue.is_outstanding());
        assert!(queue.reply(&header, &payload));
    }
    assert!(run(&mut queue, &space).0.result.is_ok());
    assert!(!queue.is_outstanding());
}

#[test]
fn the_queue_has_an_end() {
    let mut queue = DmaQueue::default();
    for tag in 0..MAX_QUEUED as u64 {
        queue.read(0, 1, tag).unwrap();
    }
    assert_eq!(queue.read(0, 1, 0).unwrap_err().error, DmaError::QueueFull);
    let mut queue = DmaQueue::default();
    for tag in 0..(MAX_QUEUED_BYTES / MAX_LENGTH) as u64 {
        queue.write(0, vec![0; MAX_LENGTH], tag).unwrap();
    }
    assert_eq!(queue.read(0, 1, 0).unwrap_err().error, DmaError::QueueFull);
    let rejected = queue.write(0, vec![7; 3], 0).unwrap_err();
    assert_eq!(rejected, Rejected { error: DmaError::QueueFull, data: vec![7; 3] });
    let segment = Segment { address: 0, length: MAX_LENGTH + 1 };
    let rejected = queue.scatter_for_device(vec![segment], vec![7; MAX_LENGTH + 1], 0).unwrap_err();
    assert_eq!(
        (rejected.error, rejected.data.len()),
        (DmaError::TooLong(MAX_LENGTH + 1), MAX_LENGTH + 1)
    );
    assert_eq!(
        DmaQueue::default().read(0, MAX_LENGTH + 1, 0).unwrap_err().error,
        DmaError::TooLong(MAX_LENGTH + 1)
    );
}

/// The messages that are sent before any is answered.
fn sent_together(queue: &mut DmaQueue, space: &DmaSpace) -> Vec<(Header, Vec<u8>)> {
    let mut answers = Vec::new();
    while let Step::Send(request) = queue.step(space, true, LARGEST) {
        answers.push(answer(&request));
    }
    answers
}

#[test]
fn messages_of_a_task_are_under_way_together_and_answered_in_any_order() {
    let (mut queue, space) = (DmaQueue::default(), space());
    let places = [(5000, 10), (6000, 3), (4096, 20)];
    let segments = places.map(|(address, length)| Segment { address, length });
    queue.access(Owner::Task(Reply::new()), segments.to_vec(), Vec::new(), 33).unwrap();
    let mut answers = sent_together(&mut queue, &space);
    assert_eq!(answers.len(), 3);
    assert!(!queue.is_ready() && queue.is_in_flight());
    answers.rotate_left(1);
    for (header, payload) in answers {
        assert!(queue.reply(&header, &payload));
    }
    let Step::Done(Ended { result, .. }) = queue.step(&space, true, LARGEST) else { panic!() };
    let bytes = places.iter().flat_map(|(address, length)| *address..address + *length as u64);
    assert_eq!(result, Ok(bytes.map(|address| address as u8).collect::<Vec<u8>>()));
}

#[test]
fn a_copy_does_not_overtake_a_message() {
    let (mut queue, space) = (DmaQueue::default(), space());
    let segments = [(5000, 1), (8, 1), (5001, 1)];
    let segments = segments.map(|(address, length)| Segment { address, length });
    queue.access(Owner::Task(Reply::new()), segments.to_vec(), vec![7; 3], 0).unwrap();
    let first = sent_together(&mut queue, &space);
    assert_eq!(first.len(), 1);
    queue.reply(&first[0].0, &first[0].1);
    assert_eq!(sent_together(&mut queue, &space).len(), 1, "after the copy");
}

#[test]
fn messages_under_way_together_have_a_limit_in_number_and_bytes() {
    let space = space();
    for (length, together) in [(1, MAX_TOGETHER), (LARGEST / 2, 2), (LARGEST, 1)] {
        let mut queue = DmaQueue::default();
        let segments = vec![Segment { address: 4096, length }; 20];
        queue.access(Owner::Task(Reply::new()), segments, Vec::new(), 20 * length).unwrap();
        assert_eq!(sent_together(&mut queue, &space).len(), together, "of {length} bytes");
        assert!(!queue.is_ready());
    }
}

#[test]
fn a_refusal_ends_a_tasks_access_when_every_message_is_answered() {
    let (mut queue, space) = (DmaQueue::default(), space());
    let segments = vec![Segment { address: 5000, length: 4 }; 3];
    queue.access(Owner::Task(Reply::new()), segments, vec![7; 12], 0).unwrap();
    let answers = sent_together(&mut queue, &space);
    let (mut refused, _) = answers[0].clone();
    (refused.flags, refused.error) = (0x21, 5);
    assert!(queue.reply(&refused, &[]));
    assert!(matches!(queue.step(&space, true, LARGEST), Step::Idle));
    for (header, payload) in &answers[1..] {
        assert!(queue.reply(header, payload));
    }
    let Step::Done(Ended { result, .. }) = queue.step(&space, true, LARGEST) else { panic!() };
    assert_eq!(result, Err(DmaError::Refused { address: 5000, errno: Errno::IO.raw_os_error() }));
}

#[test]
fn cancelled_tasks_leave_the_accesses_of_the_device() {
    let (mut queue, space) = (DmaQueue::default(), space());
    let segments = vec![Segment { address: 5000, length: 4 }; 2];
    queue.access(Owner::Task(Reply::new()), segments, Vec::new(), 8).unwrap();
    queue.read(4096, 4, 1).unwrap();
    let late = sent_together(&mut queue, &space);
    assert_eq!(late.len(), 2);
    queue.cancel_tasks();
    let (done, messages) = run(&mut queue, &space);
    assert_eq!((done.tag, messages), (1, 1));
    assert!(queue.is_outstanding(), "late answers may come");
    for (header, payload) in late {
        assert!(queue.reply(&header, &payload));
    }
    assert!(!queue.is_outstanding());
}
