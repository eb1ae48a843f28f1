//! How the driver hears of answers and of faults.

use virtio_device::{Features, Interface};

use crate::driver::{CONFIG, CONFIG_VECTOR, Driver, ISR, QUEUE, QUEUE_VECTOR};

/// MSI-X message control in configuration space, and its bits.
const MSIX_CONTROL: u64 = 0x42;
const ENABLE: u64 = 1 << 15;
const MASK: u64 = 1 << 14;

/// Tells the device at which answer the driver wants an interrupt.
fn set_used_event(driver: &mut Driver, index: u16) {
    let address = driver.place.available + 4 + 2 * u64::from(driver.place.size);
    driver.bench.write_memory(address as usize, &index.to_le_bytes());
}

#[test]
fn with_event_indexes_the_driver_is_interrupted_at_the_answer_it_names() {
    let mut driver = Driver::ready();
    set_used_event(&mut driver, 2);
    let mut interrupts = Vec::new();
    for _ in 0..4 {
        driver.ask(1);
        interrupts.push(driver.bench.take_interrupt(QUEUE));
    }
    assert_eq!(interrupts, [false, false, true, false]);
}

#[test]
fn without_them_a_flag_keeps_interrupts_away() {
    let mut driver = Driver::of(Interface::Modern, |bench| bench.with_msix().unwrap());
    driver.start(Features::VERSION_1);
    for (flag, interrupted) in [(1_u16, false), (0, true)] {
        driver.bench.write_memory(driver.place.available as usize, &flag.to_le_bytes());
        driver.ask(1);
        assert_eq!(driver.answer(), Some((0, 1)));
        assert_eq!(driver.bench.take_interrupt(QUEUE), interrupted);
    }
}

#[test]
fn without_msix_the_pin_and_the_isr_status_tell() {
    let mut driver = Driver::idle();
    driver.start(Features::VERSION_1);
    driver.ask(1);
    assert!(driver.bench.interrupt_pin());
    assert_eq!(driver.read(ISR, 1), 1, "an answer");
    assert!(!driver.bench.interrupt_pin(), "reading takes it back");
    assert_eq!(driver.read(ISR, 1), 0);
    driver.set_available_index(9999);
    driver.notify();
    assert!(driver.bench.interrupt_pin());
    assert_eq!(driver.read(ISR, 1), 2, "a change of configuration");
    driver.set_available_index(0);
    driver.reset();
    assert!(!driver.bench.interrupt_pin());
}

#[test]
fn a_reset_takes_the_pin_back() {
    let mut driver = Driver::idle();
    driver.start(Features::VERSION_1);
    driver.ask(1);
    assert!(driver.bench.interrupt_pin());
    driver.reset();
    assert!(!driver.bench.interrupt_pin());
}

#[test]
fn without_a_vector_nothing_is_interrupted() {
    let mut driver = Driver::ready();
    driver.write(QUEUE_VECTOR, 2, 0xffff);
    driver.write(CONFIG_VECTOR, 2, 0xffff);
    driver.ask(1);
    assert_eq!(driver.answer(), Some((0, 1)));
    driver.set_available_index(9999);
    driver.notify();
    for vector in [CONFIG, QUEUE] {
        assert!(!driver.bench.take_interrupt(vector));
    }
    assert!(!driver.bench.interrupt_pin());
}

#[test]
fn a_fault_is_in_the_isr_status_with_msix_too() {
    let mut driver = Driver::ready();
    driver.set_available_index(9999);
    driver.notify();
    assert!(driver.bench.take_interrupt(CONFIG));
    assert_eq!(driver.read(ISR, 1), 2);
}

#[test]
fn a_pending_interrupt_does_not_outlive_a_reset() {
    let mut driver = Driver::ready();
    driver.bench.write_config(MSIX_CONTROL, 2, ENABLE | MASK);
    driver.ask(1);
    assert!(!driver.bench.take_interrupt(QUEUE), "masked");
    driver.reset();
    driver.bench.write_config(MSIX_CONTROL, 2, ENABLE);
    assert!(!driver.bench.take_interrupt(QUEUE), "an interrupt of before the reset");
}

#[test]
fn with_msix_the_pin_is_silent() {
    const INTERRUPT_STATUS: u64 = 8;
    let mut driver = Driver::idle();
    driver.start(Features::VERSION_1);
    driver.ask(1);
    assert_eq!(driver.bench.read_config(6, 2) & INTERRUPT_STATUS, INTERRUPT_STATUS);
    driver.bench.write_config(MSIX_CONTROL, 2, ENABLE);
    assert_eq!(driver.bench.read_config(6, 2) & INTERRUPT_STATUS, 0);
    assert!(!driver.bench.interrupt_pin());
}
