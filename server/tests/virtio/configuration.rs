//! Configuration space: identity, capabilities, and the window to the BARs.

use my_rng_server::devices::virtio_rng::VirtioRng;
use virtio_device::{Interface, Status};

use crate::driver::{Driver, QUEUE_COUNT, STATUS};

/// Places of the capabilities with this id.
fn capabilities(driver: &mut Driver, id: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let mut place = driver.bench.read_config(0x34, 1);
    while place != 0 {
        if driver.bench.read_config(place, 1) == id {
            found.push(place);
        }
        place = driver.bench.read_config(place + 1, 1);
    }
    found
}

/// The virtio capability of this kind.
fn virtio(driver: &mut Driver, kind: u64) -> u64 {
    let all = capabilities(driver, 0x09);
    all.into_iter().find(|place| driver.bench.read_config(place + 3, 1) == kind).unwrap()
}

#[test]
fn identities_are_those_of_the_specification() {
    for (interface, identity) in [
        (Interface::Modern, [0x1044_1af4, 0x00ff_0001, 0x1100_1af4]),
        (Interface::Transitional, [0x1005_1af4, 0x00ff_0000, 0x0004_1af4]),
    ] {
        let mut driver = Driver::of(interface, |bench| bench);
        assert_eq!([0x00, 0x08, 0x2c].map(|at| driver.bench.read_config(at, 4)), identity);
        assert_eq!(driver.bench.read_config(0x3d, 1), 1, "INTA#");
    }
}

#[test]
fn five_capabilities_say_where_everything_is() {
    let mut driver = Driver::idle();
    for (kind, offset, size) in
        [(1, 0x0000, 0x1000), (2, 0x3000, 0x1000), (3, 0x1000, 0x1000), (4, 0x2000, 0x1000)]
    {
        let place = virtio(&mut driver, kind);
        assert_eq!(driver.bench.read_config(place + 4, 1), 4, "BAR of {kind}");
        assert_eq!(driver.bench.read_config(place + 8, 4), offset, "offset of {kind}");
        assert_eq!(driver.bench.read_config(place + 12, 4), size, "size of {kind}");
    }
    let notify = virtio(&mut driver, 2);
    assert_eq!(driver.bench.read_config(notify + 2, 1), 20);
    assert_eq!(driver.bench.read_config(notify + 16, 4), 4, "multiplier");
    assert_eq!(capabilities(&mut driver, 0x09).len(), 5);
    assert_eq!(capabilities(&mut driver, 0x11).len(), 1);
}

/// Points the window somewhere.
fn aim(driver: &mut Driver, bar: u64, offset: u64, length: u64) -> u64 {
    let window = virtio(driver, 5);
    driver.bench.write_config(window + 4, 1, bar);
    driver.bench.write_config(window + 8, 4, offset);
    driver.bench.write_config(window + 12, 4, length);
    window + 16
}

#[test]
fn registers_are_reached_through_the_window() {
    let mut driver = Driver::idle();
    let data = aim(&mut driver, 4, QUEUE_COUNT, 2);
    assert_eq!(driver.bench.read_config(data, 2), 1);
    let data = aim(&mut driver, 4, STATUS, 1);
    driver.bench.write_config(data, 1, 1);
    assert_eq!(driver.status(), Status::ACKNOWLEDGE);
    assert_eq!(driver.bench.read_config(data, 1), 1);
    driver.bench.write_config(data, 1, 0);
    assert_eq!(driver.status(), Status::empty());
}

#[test]
fn a_window_that_is_aimed_at_nothing_is_harmless() {
    let mut driver = Driver::ready();
    for (bar, offset, length) in [
        (4, STATUS, 0),
        (4, STATUS, 3),
        (4, STATUS, 8),
        (4, 0x15, 2),
        (4, 0x4000, 4),
        (4, 0xffff_fffc, 4),
        (0, 0, 4),
        (5, 0, 4),
        (7, 0, 4),
        (255, 0, 1),
    ] {
        let data = aim(&mut driver, bar, offset, length);
        driver.bench.write_config(data, 4, 0);
        driver.bench.read_config(data, 4);
        driver.bench.read_config(data - 1, 2);
        assert!(driver.status().contains(Status::DRIVER_OK), "BAR {bar} {offset:#x} {length}");
    }
    driver.assert_works();
}

#[test]
fn the_rest_of_the_capabilities_is_read_only() {
    let mut driver = Driver::idle();
    let common = virtio(&mut driver, 1);
    driver.bench.write_config(common + 4, 4, 0xffff_ffff);
    driver.bench.write_config(common + 8, 4, 0xffff_ffff);
    assert_eq!(driver.bench.read_config(common + 4, 1), 4);
    assert_eq!(driver.bench.read_config(common + 8, 4), 0);
}

#[test]
fn without_vectors_there_is_no_msix() {
    let without = |entropy| {
        let mut device = VirtioRng::new(entropy, Interface::Modern);
        device.leave_msix_out();
        device
    };
    let mut driver = Driver::of_device(u64::MAX, None, without, |bench| bench);
    assert!(capabilities(&mut driver, 0x11).is_empty());
    assert_eq!(driver.bench.read_config(0x14, 4), 0, "nor its BAR");
    assert_eq!(capabilities(&mut driver, 0x09).len(), 5);
    driver.assert_works_without_interrupts();
    assert!(driver.bench.interrupt_pin());
}
