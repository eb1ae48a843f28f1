//! The status machine: what a driver and the device say to each other before the first request.

use virtio_device::{Features, Interface, Status};

use crate::driver::{
    CONFIG, CONFIG_VECTOR, DRIVER_FEATURE, DRIVER_FEATURE_SELECT, Driver, PLACE, QUEUE_COUNT,
    QUEUE_DESCRIPTORS, QUEUE_ENABLE, QUEUE_SELECT, QUEUE_SIZE, QUEUE_VECTOR, SPLIT, STATUS,
};

const VERSION_1: u64 = Features::VERSION_1.bits();

#[test]
fn the_device_offers_what_it_has() {
    let mut driver = Driver::idle();
    assert_eq!(driver.offered(), SPLIT.bits());
    assert_eq!(driver.read(QUEUE_COUNT, 2), 1);
    assert_eq!(driver.read(QUEUE_SIZE, 2), 64);
    assert_eq!(driver.status(), Status::empty());
    driver.write(QUEUE_SELECT, 2, 1);
    assert_eq!(driver.read(QUEUE_SIZE, 2), 0, "there is no second queue");
    driver.write(QUEUE_SIZE, 2, 8);
    driver.write(QUEUE_SELECT, 2, 0);
    assert_eq!(driver.read(QUEUE_SIZE, 2), 64);
}

#[test]
fn features_are_agreed_on() {
    let all = SPLIT.bits();
    for features in [VERSION_1, all, all & !Features::EVENT_IDX.bits()] {
        assert!(Driver::idle().agree(features), "{features:#x}");
    }
}

#[test]
fn features_that_were_not_offered_are_refused() {
    for features in [0, VERSION_1 | 1, VERSION_1 | 1 << 34, VERSION_1 | 1 << 63] {
        let mut driver = Driver::idle();
        assert!(!driver.agree(features), "{features:#x}");
        driver.add_status(Status::DRIVER_OK);
        assert_eq!(driver.status(), Status::ACKNOWLEDGE | Status::DRIVER);
        driver.assert_works_without_interrupts();
    }
    let mut driver = Driver::idle();
    driver.write(DRIVER_FEATURE_SELECT, 4, 2);
    driver.write(DRIVER_FEATURE, 4, 1);
    assert!(!driver.agree(VERSION_1), "bit 64");
}

#[test]
fn agreed_features_do_not_change() {
    let mut driver = Driver::idle();
    assert!(driver.agree(VERSION_1));
    driver.write(DRIVER_FEATURE_SELECT, 4, 0);
    driver.write(DRIVER_FEATURE, 4, 0xffff_ffff);
    assert_eq!(driver.read(DRIVER_FEATURE, 4), 0);
}

#[test]
fn only_a_reset_takes_status_bits_back() {
    let mut driver = Driver::ready();
    let ready = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK | Status::DRIVER_OK;
    driver.write(STATUS, 1, 1);
    assert_eq!(driver.status(), ready);
    driver.write(STATUS, 1, 0x40);
    assert_eq!(driver.status(), ready, "DEVICE_NEEDS_RESET is the device's");
    driver.add_status(Status::FAILED);
    assert_eq!(driver.status(), ready | Status::FAILED);
    driver.reset();
    assert_eq!(driver.status(), Status::empty());
}

#[test]
fn a_reset_takes_everything_back() {
    let mut driver = Driver::ready();
    let fresh = |driver: &mut Driver| {
        [CONFIG_VECTOR, QUEUE_VECTOR, QUEUE_SIZE, QUEUE_ENABLE, QUEUE_DESCRIPTORS, QUEUE_SELECT]
            .map(|register| driver.read(register, 2))
    };
    let used = fresh(&mut driver);
    assert_eq!(used[4], PLACE.descriptors);
    driver.reset();
    assert_eq!(fresh(&mut driver), [0xffff, 0xffff, 64, 0, 0, 0]);
    driver.assert_works();
    driver.bench.reset();
    assert_eq!(fresh(&mut driver), [0xffff, 0xffff, 64, 0, 0, 0], "so does PCI's own reset");
}

#[test]
fn an_enabled_queue_stays_as_it_is() {
    let mut driver = Driver::ready();
    driver.write(QUEUE_SIZE, 2, 8);
    driver.write(QUEUE_DESCRIPTORS, 4, 0x8000);
    driver.write(QUEUE_ENABLE, 2, 0);
    assert_eq!(driver.read(QUEUE_SIZE, 2), u64::from(PLACE.size));
    assert_eq!(driver.read(QUEUE_DESCRIPTORS, 4), PLACE.descriptors);
    assert_eq!(driver.read(QUEUE_ENABLE, 2), 1);
}

#[test]
fn vectors_that_are_not_there_are_refused() {
    let mut driver = Driver::idle();
    for register in [CONFIG_VECTOR, QUEUE_VECTOR] {
        driver.write(register, 2, 1);
        assert_eq!(driver.read(register, 2), 1);
        driver.write(register, 2, 2);
        assert_eq!(driver.read(register, 2), 0xffff);
    }
}

#[test]
fn a_client_that_comes_after_another_finds_a_fresh_device() {
    let mut driver = Driver::ready();
    driver.bench.reconnect().unwrap();
    assert_eq!(driver.status(), Status::empty());
    assert_eq!(driver.read(QUEUE_ENABLE, 2), 0);
}

#[test]
fn a_fault_before_the_driver_is_ready_is_told_without_an_interrupt() {
    let mut driver = Driver::of(Interface::Modern, |bench| bench.with_msix().unwrap());
    assert!(driver.agree(VERSION_1));
    driver.place.size = 3;
    driver.place_queue();
    driver.write(QUEUE_ENABLE, 2, 1);
    assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET));
    assert!(!driver.bench.take_interrupt(CONFIG));
    driver.assert_works();
}

#[test]
fn only_zero_is_a_reset() {
    let mut driver = Driver::ready();
    driver.write(STATUS, 1, 0x10);
    assert!(driver.status().contains(Status::DRIVER_OK), "a bit that means nothing");
}

#[test]
fn the_bar_of_msix_is_no_second_way_to_the_registers() {
    let mut driver = Driver::ready();
    assert_eq!(driver.bench.read(1, QUEUE_DESCRIPTORS, 4), 0);
    driver.bench.write(1, 0x20, 4, 0xdead_0000);
    driver.bench.write(1, STATUS, 1, 0);
    assert_eq!(driver.read(QUEUE_DESCRIPTORS, 4), PLACE.descriptors);
    assert!(driver.status().contains(Status::DRIVER_OK));
}

#[test]
fn a_queue_that_does_not_exist_has_no_vector() {
    let mut driver = Driver::idle();
    driver.write(QUEUE_SELECT, 2, 1);
    assert_eq!(driver.read(QUEUE_VECTOR, 2), 0xffff);
}

#[test]
fn a_driver_may_change_its_mind_before_features_are_agreed_on() {
    let mut driver = Driver::idle();
    driver.write(DRIVER_FEATURE_SELECT, 4, 2);
    driver.write(DRIVER_FEATURE, 4, 1);
    assert!(!driver.agree(VERSION_1));
    driver.write(DRIVER_FEATURE_SELECT, 4, 2);
    driver.write(DRIVER_FEATURE, 4, 0);
    assert!(driver.agree(VERSION_1));
}
