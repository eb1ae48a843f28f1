//! Requests that wait: for the source, for their period, for guest memory.

use std::time::{Duration, Instant};

use entropy::limiter::Limit;
use vfio_user_device::TestBench;
use virtio_device::{Interface, Status};

use crate::driver::{BUFFERS, Driver, QUEUE_COUNT, SPLIT, STATUS, UNTOUCHED};

/// A ready driver of a device whose source has so many bytes, and so fast.
fn limited(bytes: u64, limit: Option<Limit>) -> Driver {
    let msix = |bench: TestBench| bench.with_msix().unwrap();
    let mut driver = Driver::with(bytes, limit, Interface::Modern, msix);
    driver.start(SPLIT);
    driver
}

fn limit(bytes: u64, period: Duration) -> Option<Limit> {
    Some(Limit::new(bytes, period).unwrap())
}

#[test]
fn an_empty_source_makes_the_request_wait_and_nothing_else() {
    let mut driver = limited(0, None);
    driver.ask(64);
    assert_eq!(driver.answer(), None);
    assert_eq!(driver.read(QUEUE_COUNT, 2), 1, "registers are answered");
    assert_eq!(driver.memory(BUFFERS, 64), [UNTOUCHED; 64], "nothing is made up");
    driver.supply.add(10);
    assert!(driver.wake());
    assert_eq!(driver.answer(), Some((0, 10)), "what there is");
    assert_eq!(driver.memory(BUFFERS + 10, 1), [UNTOUCHED]);
}

#[test]
fn a_reset_ends_the_wait_and_loses_no_bytes() {
    let mut driver = limited(0, None);
    driver.ask(64);
    driver.reset();
    driver.supply.add(100);
    driver.waker.wake();
    assert!(!driver.bench.wait_for_waker(Duration::ZERO), "no request waits");
    assert_eq!(driver.memory(BUFFERS, 64), [UNTOUCHED; 64]);
    driver.assert_works();
}

#[test]
fn a_request_waits_for_its_period() {
    let period = Duration::from_millis(100);
    let mut driver = limited(u64::MAX, limit(100, period));
    let begun = Instant::now();
    driver.ask(64);
    assert_eq!(driver.answer(), Some((0, 64)));
    driver.ask(64);
    assert_eq!(driver.answer(), Some((0, 32)), "what Linux can count of the 36 that are left");
    driver.ask(64);
    assert_eq!(driver.answer(), Some((0, 4)), "the rest of them");
    driver.ask(64);
    assert_eq!(driver.answer(), None);
    let wait = driver.bench.timer_in().expect("it waits");
    assert!(wait <= period, "{wait:?}");
    // The timer is the session's affair, so that this test is the one who waits.
    while driver.answer().is_none() {
        std::thread::park_timeout(driver.bench.timer_in().unwrap_or_default());
        driver.bench.fire_timer();
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    assert!(begun.elapsed() >= period);
}

#[test]
fn a_timer_that_fires_early_changes_nothing() {
    let mut driver = limited(u64::MAX, limit(64, Duration::from_secs(3600)));
    driver.ask(64);
    driver.ask(64);
    assert_eq!(driver.answer(), Some((0, 64)));
    for _ in 0..3 {
        assert!(driver.bench.fire_timer(), "it is set again");
        assert_eq!(driver.answer(), None);
    }
    driver.reset();
    assert_eq!(driver.bench.timer_in(), None);
}

#[test]
fn a_reset_is_over_when_no_access_can_touch_memory_any_more() {
    let mut driver = Driver::ready_by_message();
    driver.bench.hold_messages(true);
    driver.ask(64);
    driver.write(STATUS, 1, 0);
    assert!(driver.status().contains(Status::DRIVER_OK), "a message is still unanswered");
    driver.bench.hold_messages(false);
    assert_eq!(driver.status(), Status::empty());
    driver.assert_works();
}

#[test]
fn a_client_that_goes_takes_its_request_along() {
    let mut driver = limited(0, None);
    driver.ask(64);
    driver.bench.reconnect().unwrap();
    driver.supply.add(1000);
    driver.wake();
    assert_eq!(driver.memory(BUFFERS, 64), [UNTOUCHED; 64], "the next guest's memory");
    driver.assert_works();
}

#[test]
fn a_driver_that_does_not_wait_for_a_resets_end_brings_no_old_status_back() {
    let mut driver = Driver::ready_by_message();
    driver.bench.hold_messages(true);
    driver.ask(8);
    driver.add_status(Status::FAILED);
    driver.write(STATUS, 1, 0);
    driver.add_status(Status::ACKNOWLEDGE);
    driver.bench.hold_messages(false);
    let early = Status::ACKNOWLEDGE | Status::DRIVER;
    assert!(early.contains(driver.status()), "{:?}", driver.status());
}
