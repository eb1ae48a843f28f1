//! Requests that are answered at once, and those that are wrong.

use virtio_bindings::virtio_config::VIRTIO_F_NOTIFY_ON_EMPTY;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

use crate::server::{TestServer, counted};
use crate::vmm::{BUFFER, INDIRECT, MEMORY, NEXT, SIZE, Vmm, WRITE};

#[test]
fn a_request_is_filled_and_the_driver_called() {
    let server = TestServer::counting();
    let mut vmm = Vmm::start(&server.path(), &[]);
    assert_eq!(vmm.get(64), counted(0, 64));
    assert!(vmm.called());
    assert_eq!(vmm.get(1), counted(64, 1));
    assert_eq!(vmm.read(BUFFER + 1, 63), counted(1, 63), "no byte more than asked for");
}

#[test]
fn memory_in_more_slots_than_a_message_has_regions_is_reached() {
    let server = TestServer::counting();
    let mut vmm = Vmm::connect(&server.path(), &[]);
    vmm.share_in_slots(16);
    vmm.start_queue(0);
    let last = MEMORY - 64;
    vmm.descriptor(2, last, 64, WRITE, 0);
    vmm.offer(2);
    vmm.kick();
    assert_eq!(vmm.answer(), (2, 64));
    assert_eq!(vmm.read(last, 64), counted(0, 64));
}

#[test]
fn requests_from_before_the_queue_started_are_completed_without_a_kick() {
    let server = TestServer::counting();
    let mut vmm = Vmm::connect(&server.path(), &[]);
    vmm.share_memory();
    vmm.descriptor(3, BUFFER, 32, WRITE, 0);
    vmm.offer(3);
    vmm.start_queue(0);
    assert_eq!(vmm.answer(), (3, 32));
}

#[test]
fn a_chain_is_filled_buffer_by_buffer() {
    let server = TestServer::counting();
    let mut vmm = Vmm::start(&server.path(), &[]);
    vmm.descriptor(5, BUFFER, 10, WRITE | NEXT, 2);
    vmm.descriptor(2, BUFFER + 0x1000, 0, WRITE | NEXT, 7);
    vmm.descriptor(7, BUFFER + 0x2000, 20, WRITE, 0);
    vmm.offer(5);
    vmm.kick();
    assert_eq!(vmm.answer(), (5, 30));
    assert_eq!(vmm.read(BUFFER, 10), counted(0, 10));
    assert_eq!(vmm.read(BUFFER + 0x2000, 20), counted(10, 20));
}

#[test]
fn an_indirect_chain_is_filled() {
    let server = TestServer::counting();
    let mut vmm = Vmm::start(&server.path(), &[VIRTIO_RING_F_INDIRECT_DESC]);
    vmm.descriptor(1, 0x8000, 32, INDIRECT, 0);
    vmm.descriptor_at(0x8000, BUFFER, 10, WRITE | NEXT, 1);
    vmm.descriptor_at(0x8010, BUFFER + 10, 10, WRITE, 0);
    vmm.offer(1);
    vmm.kick();
    assert_eq!(vmm.answer(), (1, 20));
    assert_eq!(vmm.read(BUFFER, 20), counted(0, 20));
}

#[test]
fn a_request_gets_64_kib_at_most() {
    let server = TestServer::counting();
    let mut vmm = Vmm::start(&server.path(), &[]);
    assert_eq!(vmm.get(0x2_0000).len(), 0x1_0000);
    assert_eq!(vmm.get(4), counted(0x1_0000, 4), "nothing is lost");
}

#[test]
fn a_full_ring_is_answered_in_its_order_again_and_again() {
    let server = TestServer::counting();
    let mut vmm = Vmm::start(&server.path(), &[]);
    for round in 0..40 {
        for index in 0..SIZE {
            vmm.descriptor(index, BUFFER + 0x100 * u64::from(index), 16, WRITE, 0);
            vmm.offer(index);
        }
        vmm.kick();
        for index in 0..u32::from(SIZE) {
            assert_eq!(vmm.answer(), (index, 16));
        }
        let bytes = (0..u64::from(SIZE)).flat_map(|index| vmm.read(BUFFER + 0x100 * index, 16));
        let before = round * 16 * usize::from(SIZE);
        assert_eq!(bytes.collect::<Vec<_>>(), counted(before, 16 * usize::from(SIZE)));
    }
}

#[test]
fn a_bad_chain_is_given_back_empty_and_costs_no_byte() {
    let server = TestServer::counting();
    let mut vmm = Vmm::start(&server.path(), &[VIRTIO_RING_F_INDIRECT_DESC]);
    // One for the device to read, alone and behind one to write.
    vmm.descriptor(0, BUFFER, 16, 0, 0);
    vmm.descriptor(1, BUFFER, 16, WRITE | NEXT, 0);
    // No room; outside of memory, at its end, at the end of all addresses.
    vmm.descriptor(2, BUFFER, 0, WRITE, 0);
    vmm.descriptor(3, MEMORY, 16, WRITE, 0);
    vmm.descriptor(4, MEMORY - 8, 16, WRITE, 0);
    vmm.descriptor(5, u64::MAX - 8, 16, WRITE, 0);
    // No end; an end that does not exist.
    vmm.descriptor(6, BUFFER, 16, WRITE | NEXT, 6);
    vmm.descriptor(7, BUFFER, 16, WRITE | NEXT, SIZE);
    // Tables: not of whole descriptors, outside of memory, in a table, too long.
    vmm.descriptor(8, 0x8000, 24, INDIRECT, 0);
    vmm.descriptor(9, MEMORY, 16, INDIRECT, 0);
    vmm.descriptor(10, 0x8000, 16, INDIRECT, 0);
    vmm.descriptor_at(0x8000, 0x8000, 16, INDIRECT, 0);
    let many = 2 * SIZE;
    vmm.descriptor(11, 0x9000, 16 * u32::from(many), INDIRECT, 0);
    for index in 0..many {
        let next = if index + 1 < many { NEXT } else { 0 };
        vmm.descriptor_at(0x9000 + 16 * u64::from(index), BUFFER, 1, WRITE | next, index + 1);
    }
    // A good one behind them all.
    vmm.descriptor(12, BUFFER, 16, WRITE, 0);
    for head in 0..=12 {
        vmm.offer(head);
    }
    vmm.kick();
    for head in 0..12 {
        assert_eq!(vmm.answer(), (head, 0));
    }
    assert_eq!(vmm.answer(), (12, 16));
    assert_eq!(vmm.read(BUFFER, 16), counted(0, 16));
}

#[test]
fn a_chain_that_does_not_exist_is_passed_over() {
    let server = TestServer::counting();
    let mut vmm = Vmm::start(&server.path(), &[]);
    vmm.offer(SIZE);
    vmm.offer(u16::MAX);
    assert_eq!(vmm.get(16), counted(0, 16));
}

#[test]
fn with_event_idx_the_driver_is_called_when_it_wants_to_be() {
    let server = TestServer::counting();
    let mut vmm = Vmm::start(&server.path(), &[VIRTIO_RING_F_EVENT_IDX]);
    vmm.want_call_after(3);
    for number in 1..=2 {
        assert_eq!(vmm.get(8).len(), 8);
        assert!(!vmm.called(), "{number}");
    }
    assert_eq!(vmm.get(8).len(), 8);
    assert!(vmm.called());
    assert_eq!(vmm.kick_wanted_after(), 3, "the device says when it wants a kick");
}

#[test]
fn notify_on_empty_calls_whatever_the_driver_wants() {
    let server = TestServer::counting();
    let features = &[VIRTIO_RING_F_EVENT_IDX, VIRTIO_F_NOTIFY_ON_EMPTY];
    let mut vmm = Vmm::start(&server.path(), features);
    vmm.want_call_after(100);
    assert_eq!(vmm.get(8).len(), 8);
    assert!(vmm.called());
}

#[test]
fn a_corrupt_available_ring_disables_the_queue_until_it_starts_again() {
    let server = TestServer::counting();
    let mut vmm = Vmm::start(&server.path(), &[]);
    // More than a ring has.
    vmm.offer_again_and_again(0, SIZE + 1);
    vmm.kick();
    vmm.assert_waits();
    let base = vmm.stop_queue();
    assert_eq!(base, 0);
    // Those that lie there are none of what it gets now.
    vmm.start_queue(SIZE + 1);
    assert_eq!(vmm.get(16), counted(0, 16));
}
