//! The legacy interface of a transitional device.

use my_rng_server::devices::virtio_rng::VirtioRng;
use vfio_user_device::TestBench;
use virtio_device::{Features, Interface, Status};

use crate::driver::{
    BUFFERS, DRIVER_FEATURE as MODERN_DRIVER_FEATURE, DRIVER_FEATURE_SELECT, Driver, Place, WRITE,
    byte_at,
};

pub const IO: u32 = 0;
const DEVICE_FEATURE: u64 = 0x00;
const DRIVER_FEATURE: u64 = 0x04;
const QUEUE_PAGE: u64 = 0x08;
const QUEUE_SIZE: u64 = 0x0c;
const QUEUE_SELECT: u64 = 0x0e;
pub const NOTIFY: u64 = 0x10;
const STATUS: u64 = 0x12;
const ISR: u64 = 0x13;
const QUEUE_VECTOR: u64 = 0x16;

/// A legacy driver that is ready, its queue at 0x8000.
pub fn ready() -> Driver {
    let mut driver = almost_ready(|bench| bench);
    driver.bench.write(IO, STATUS, 1, 7);
    driver
}

/// The same, one step before.
fn almost_ready(prepare: impl FnOnce(TestBench) -> TestBench) -> Driver {
    almost_ready_of(false, prepare)
}

/// The same of a device that may offer a packed queue to drivers of the modern interface.
fn almost_ready_of(packed: bool, prepare: impl FnOnce(TestBench) -> TestBench) -> Driver {
    let make = |entropy| {
        let mut device = VirtioRng::new(entropy, Interface::Transitional);
        if packed {
            device.offer_packed_queue();
        }
        device
    };
    let mut driver = Driver::of_device(u64::MAX, None, make, prepare);
    driver.bench.write(IO, STATUS, 1, 0);
    driver.bench.write(IO, STATUS, 1, 3);
    let features = driver.bench.read(IO, DEVICE_FEATURE, 4);
    driver.bench.write(IO, DRIVER_FEATURE, 4, features);
    driver.bench.write(IO, QUEUE_SELECT, 2, 0);
    let size = driver.bench.read(IO, QUEUE_SIZE, 2) as u16;
    let (descriptors, available) = (0x8000, 0x8000 + 16 * u64::from(size));
    let used = (available + 6 + 2 * u64::from(size)).next_multiple_of(4096);
    driver.place = Place { size, descriptors, available, used };
    driver.bench.write_memory(0x8000, &[0; 0x3000]);
    driver.bench.write(IO, QUEUE_PAGE, 4, 8);
    driver
}

#[test]
fn a_legacy_driver_gets_its_bytes() {
    let mut driver = ready();
    assert_eq!(driver.place.size, 64);
    driver.describe(3, BUFFERS, 20, WRITE, 0);
    driver.offer(3);
    driver.bench.write(IO, NOTIFY, 2, 0);
    assert_eq!(driver.answer(), Some((3, 20)));
    assert_eq!(driver.memory(BUFFERS, 20), (0..20).map(byte_at).collect::<Vec<_>>());
    assert!(driver.bench.interrupt_pin());
    assert_eq!(driver.bench.read(IO, ISR, 1), 1);
    assert!(!driver.bench.interrupt_pin());
}

#[test]
fn it_offers_what_fits_into_32_bits() {
    let mut driver = ready();
    let features = driver.bench.read(IO, DEVICE_FEATURE, 4);
    assert_eq!(features, (Features::INDIRECT_DESC | Features::EVENT_IDX).bits());
    driver.bench.write(IO, DRIVER_FEATURE, 4, 0xffff_ffff);
    assert_eq!(driver.bench.read(IO, DRIVER_FEATURE, 4), features);
}

#[test]
fn there_is_one_queue() {
    let mut driver = ready();
    assert_eq!(driver.bench.read(IO, QUEUE_PAGE, 4), 8);
    driver.bench.write(IO, QUEUE_SELECT, 2, 1);
    assert_eq!(driver.bench.read(IO, QUEUE_SIZE, 2), 0);
    driver.bench.write(IO, QUEUE_PAGE, 4, 99);
    driver.bench.write(IO, QUEUE_SELECT, 2, 0);
    assert_eq!(driver.bench.read(IO, QUEUE_PAGE, 4), 8);
}

#[test]
fn a_queue_is_taken_back_with_page_0() {
    let mut driver = ready();
    driver.bench.write(IO, QUEUE_PAGE, 4, 0);
    driver.describe(0, BUFFERS, 20, WRITE, 0);
    driver.offer(0);
    driver.bench.write(IO, NOTIFY, 2, 0);
    assert_eq!(driver.answer(), None);
}

#[test]
fn vectors_are_there_with_msix_only() {
    let mut driver = ready();
    driver.bench.write(IO, QUEUE_VECTOR, 2, 1);
    assert_eq!(driver.bench.read(IO, QUEUE_VECTOR, 2), 0);
    let mut driver = Driver::of(Interface::Transitional, |bench| bench.with_msix().unwrap());
    driver.bench.write(IO, QUEUE_VECTOR, 2, 1);
    assert_eq!(driver.bench.read(IO, QUEUE_VECTOR, 2), 1);
    driver.bench.write(IO, QUEUE_VECTOR, 2, 7);
    assert_eq!(driver.bench.read(IO, QUEUE_VECTOR, 2), 0xffff);
}

#[test]
fn both_interfaces_show_one_device() {
    let mut driver = ready();
    assert_eq!(driver.status().bits(), 7);
    driver.assert_works_without_interrupts();
    assert_eq!(driver.bench.read(IO, STATUS, 1), 15);
    driver.bench.write(IO, STATUS, 1, 0);
    assert!(driver.status().is_empty());
}

#[test]
fn a_page_at_the_end_of_the_address_space_is_a_fault() {
    let mut driver = ready();
    driver.bench.write(IO, QUEUE_PAGE, 4, 0xffff_ffff);
    driver.bench.write(IO, NOTIFY, 2, 0);
    assert_eq!(driver.bench.read(IO, STATUS, 1) & 0x40, 0x40);
}

#[test]
fn old_drivers_use_the_device_before_they_say_that_they_are_ready() {
    let mut driver = almost_ready(|bench| bench);
    driver.describe(0, BUFFERS, 20, WRITE, 0);
    driver.offer(0);
    driver.bench.write(IO, NOTIFY, 2, 0);
    assert_eq!(driver.answer(), Some((0, 20)));
    driver.bench.write(IO, STATUS, 1, 7);
    driver.describe(0, BUFFERS, 10, WRITE, 0);
    driver.offer(0);
    driver.bench.write(IO, NOTIFY, 2, 0);
    assert_eq!(driver.answer(), Some((0, 10)), "being ready does not start it again");
}

#[test]
fn a_reset_is_seen_at_once_although_a_message_is_under_way() {
    let mut driver = almost_ready(|bench| bench.by_message().unwrap());
    driver.bench.write(IO, STATUS, 1, 7);
    driver.bench.hold_messages(true);
    driver.describe(0, BUFFERS, 20, WRITE, 0);
    driver.offer(0);
    driver.bench.write(IO, NOTIFY, 2, 0);
    driver.bench.write(IO, STATUS, 1, 0);
    // Linux does not wait, and adds one bit after the other to what it reads.
    for bit in [1, 2] {
        let status = driver.bench.read(IO, STATUS, 1);
        driver.bench.write(IO, STATUS, 1, status | bit);
    }
    driver.bench.hold_messages(false);
    assert_eq!(driver.bench.read(IO, STATUS, 1), 3);
}

/// Writes features by the modern interface, which refuses what it does not offer with FEATURES_OK.
/// The legacy one does without.
fn write_modern_features(driver: &mut Driver, features: u64) {
    for which in 0..2 {
        driver.write(DRIVER_FEATURE_SELECT, 4, which);
        driver.write(MODERN_DRIVER_FEATURE, 4, features >> (32 * which) & 0xffff_ffff);
    }
}

#[test]
fn features_of_the_other_interface_do_not_start_a_queue() {
    for packed in [false, true] {
        for (register, width, value) in [(STATUS, 1, 7), (NOTIFY, 2, 0)] {
            let mut driver = almost_ready_of(packed, |bench| bench);
            write_modern_features(&mut driver, u64::MAX);
            driver.bench.write(IO, register, width, value);
            driver.describe(3, BUFFERS, 20, WRITE, 0);
            driver.offer(3);
            driver.bench.write(IO, NOTIFY, 2, 0);
            assert_eq!(driver.answer(), Some((3, 20)), "a split queue; packed offered: {packed}");
        }
    }
}

#[test]
fn it_does_not_take_back_what_the_modern_interface_agreed_on() {
    let mut driver = Driver::of(Interface::Transitional, |bench| bench);
    driver.bench.write(IO, STATUS, 1, 0xf);
    assert!(!driver.status().contains(Status::FEATURES_OK), "there is no such bit here");
    driver.reset();
    assert!(driver.agree(Features::VERSION_1.bits()));
    driver.bench.write(IO, DRIVER_FEATURE, 4, 0);
    driver.write(DRIVER_FEATURE_SELECT, 4, 1);
    assert_eq!(driver.read(MODERN_DRIVER_FEATURE, 4), Features::VERSION_1.bits() >> 32);
}
