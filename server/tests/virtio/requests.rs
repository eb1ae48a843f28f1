//! Requests and their answers.

use virtio_device::Features;

use crate::driver::{BUFFERS, Driver, INDIRECT, NEXT, QUEUE, UNTOUCHED, WRITE, byte_at};

/// The first bytes of the source.
fn bytes(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(byte_at).collect()
}

#[test]
fn a_buffer_is_filled() {
    for mut driver in [Driver::ready(), Driver::ready_by_message()] {
        driver.ask(64);
        assert_eq!(driver.answer(), Some((0, 64)));
        assert_eq!(driver.memory(BUFFERS, 65), [bytes(0..64), vec![UNTOUCHED]].concat());
        assert!(driver.bench.take_interrupt(QUEUE));
        assert_eq!(driver.answer(), None);
    }
}

#[test]
fn a_chain_is_filled_in_its_order() {
    for mut driver in [Driver::ready(), Driver::ready_by_message()] {
        driver.describe(5, BUFFERS + 0x100, 10, WRITE | NEXT, 2);
        driver.describe(2, BUFFERS, 0, WRITE | NEXT, 9);
        driver.describe(9, BUFFERS + 0x200, 20, WRITE, 0);
        driver.request(5);
        assert_eq!(driver.answer(), Some((5, 30)));
        assert_eq!(driver.memory(BUFFERS + 0x100, 10), bytes(0..10));
        assert_eq!(driver.memory(BUFFERS + 0x200, 20), bytes(10..30));
    }
}

#[test]
fn a_chain_may_be_in_an_indirect_table_and_start_before_it() {
    let mut driver = Driver::ready();
    let table = 0x5000;
    driver.describe_at(table, BUFFERS + 0x100, 5, WRITE | NEXT, 1);
    driver.describe_at(table + 16, BUFFERS + 0x200, 6, WRITE, 0);
    driver.describe(1, BUFFERS, 4, WRITE | NEXT, 3);
    driver.describe(3, table, 32, INDIRECT | WRITE, 0);
    driver.request(1);
    assert_eq!(driver.answer(), Some((1, 15)), "the table's own WRITE flag means nothing");
    assert_eq!(driver.memory(BUFFERS, 4), bytes(0..4));
    assert_eq!(driver.memory(BUFFERS + 0x100, 5), bytes(4..9));
    assert_eq!(driver.memory(BUFFERS + 0x200, 6), bytes(9..15));
}

#[test]
fn a_whole_queue_of_descriptors_makes_a_chain() {
    let mut driver = Driver::ready();
    for index in 0..16 {
        let flags = if index < 15 { WRITE | NEXT } else { WRITE };
        driver.describe(index, BUFFERS + 0x100 * u64::from(index), 3, flags, index + 1);
    }
    driver.request(0);
    assert_eq!(driver.answer(), Some((0, 48)));
    assert_eq!(driver.memory(BUFFERS + 0xf00, 3), bytes(45..48));
}

#[test]
fn several_requests_are_answered_in_their_order_after_one_notification() {
    for mut driver in [Driver::ready(), Driver::ready_by_message()] {
        for index in 0..16 {
            driver.describe(index, BUFFERS + 0x100 * u64::from(index), 7, WRITE, 0);
            driver.offer(index);
        }
        driver.notify();
        for index in 0..16 {
            assert_eq!(driver.answer(), Some((index, 7)));
        }
        assert_eq!(driver.memory(BUFFERS + 0xf00, 7), bytes(105..112));
    }
}

#[test]
fn indexes_go_round() {
    let mut driver = Driver::ready();
    driver.describe(0, BUFFERS, 1, WRITE, 0);
    for round in 0..70_000_u64 {
        driver.request(0);
        assert_eq!(driver.answer(), Some((0, 1)), "round {round}");
    }
    assert_eq!(driver.supply.drawn().0, 70_000);
}

#[test]
fn buffers_of_no_bytes_are_answered_with_none() {
    let mut driver = Driver::ready();
    driver.ask(0);
    assert_eq!(driver.answer(), Some((0, 0)));
    assert_eq!(driver.supply.drawn(), (0, 0), "and none are taken from the source");
    driver.ask(5);
    assert_eq!(driver.answer(), Some((0, 5)));
}

#[test]
fn work_is_bounded_however_much_is_asked_for() {
    let mut driver = Driver::ready();
    // Sixteen times the same 2 MiB, and sixteen times almost 4 GiB.
    for length in [2 << 20, u32::MAX] {
        for index in 0..16 {
            let flags = if index < 15 { WRITE | NEXT } else { WRITE };
            driver.describe(index, BUFFERS, length, flags, index + 1);
        }
        driver.request(0);
        assert_eq!(driver.answer(), Some((0, 64 << 10)));
    }
    assert_eq!(driver.supply.drawn(), (128 << 10, 64 << 10));
    assert_eq!(driver.memory(BUFFERS + (64 << 10), 1), [UNTOUCHED]);
}

#[test]
fn requests_made_before_the_driver_was_ready_are_answered() {
    let mut driver = Driver::idle();
    assert!(driver.agree(Features::VERSION_1.bits()));
    driver.place_queue();
    driver.write(crate::driver::QUEUE_ENABLE, 2, 1);
    driver.describe(0, BUFFERS, 9, WRITE, 0);
    driver.offer(0);
    driver.notify();
    assert_eq!(driver.answer(), None, "not yet");
    driver.add_status(virtio_device::Status::DRIVER_OK);
    assert_eq!(driver.answer(), Some((0, 9)));
}

#[test]
fn without_event_indexes_every_notification_counts() {
    let mut driver = Driver::idle();
    driver.start(Features::VERSION_1);
    for _ in 0..100 {
        driver.ask(3);
        assert_eq!(driver.answer(), Some((0, 3)));
    }
}

#[test]
fn the_device_says_at_which_request_it_wants_to_be_notified() {
    let mut driver = Driver::ready();
    let event = |driver: &Driver| {
        let address = driver.place.used + 4 + 8 * u64::from(driver.place.size);
        u16::from_le_bytes(driver.memory(address, 2).try_into().unwrap())
    };
    assert_eq!(event(&driver), 0);
    for made in 1..40 {
        driver.ask(1);
        assert_eq!(event(&driver), made);
    }
}
