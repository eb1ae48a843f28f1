//! The entropy device from its guest's side: registers, configuration space, rings and memory that
//! comes and goes, all of it as the input says.
//!
//! An input is a list of operations: a byte that says which, and its arguments. After them the
//! device must have written to no memory but its own guest's, taken no more from its source than
//! one answer holds at once, and work again after a reset.
#![no_main]

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../../tests/virtio/driver.rs"]
mod driver;

#[path = "../memory.rs"]
mod memory;

use std::time::Duration;

use driver::{BUFFERS, Driver, MEMORY, PLACE, SPLIT, UNTOUCHED};
use libfuzzer_sys::fuzz_target;
use my_rng_server::devices::virtio_rng::VirtioRng;
use entropy::service::{Entropy, MAX_BYTES};
use entropy::limiter::Limit;
use virtio_device::{Features, Interface};
use vfio_user_device::TestBench;

/// What the device is told of its guest's memory; the rest must stay as it is.
const KNOWN: u64 = 0x20000;

/// How many operations there are.
const OPERATIONS: u64 = 22;

/// The input, from which arguments are taken.
struct Input<'i>(&'i [u8]);

impl Input<'_> {
    /// The next `count` bytes as a number; 0 in place of those that are missing.
    fn number(&mut self, count: usize) -> u64 {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The same, where nothing is large enough to be cut off.
    fn small<T: TryFrom<u64> + Default>(&mut self, count: usize) -> T {
        T::try_from(self.number(count)).unwrap_or_default()
    }
}

/// Announces all the memory that the device is to know.
fn tell_memory(driver: &mut Driver) {
    driver.bench.unmap_memory(0, MEMORY);
    driver.bench.map_memory(0, KNOWN, true).unwrap();
}

/// Whether a guest can make such an access.
fn possible(driver: &Driver, bar: u32, offset: u64, size: usize) -> bool {
    matches!(size, 1 | 2 | 4 | 8) && offset + size as u64 <= driver.bench.bar_size(bar)
}

/// Puts another device in the place of the driver's, at this host or another one.
fn replace(driver: &mut Driver, kind: u64, device: impl FnOnce(Entropy) -> VirtioRng) {
    let source = Box::new(driver.supply.clone());
    let device = device(Entropy::new(source, driver.waker.clone(), None));
    let replaced = if kind & 1 == 0 {
        driver.bench.migrate(device)
    } else {
        driver.bench.exchange(device)
    };
    replaced.expect("it is a device of the same kind");
}

fn operate(
    driver: &mut Driver,
    input: &mut Input<'_>,
    device: impl FnOnce(Entropy) -> VirtioRng,
) {
    match input.number(1) % OPERATIONS {
        0..=2 => {
            let (register, size) = (input.number(1) % 0x40, 1 << (input.number(1) & 3));
            let value = input.number(4);
            driver.write(register, size, value);
        }
        3 => {
            let (bar, offset, size) = (input.small(1), input.number(2), input.small(1));
            let value = input.number(4);
            if possible(driver, bar, offset, size) {
                driver.bench.write(bar, offset, size, value);
            }
        }
        4 => {
            let (bar, offset, size) = (input.small(1), input.number(2), input.small(1));
            if possible(driver, bar, offset, size) {
                driver.bench.read(bar, offset, size);
            }
        }
        5 => {
            let (offset, size) = (input.number(1), 1 << (input.number(1) & 3));
            let value = input.number(4);
            driver.bench.write_config(offset & !(size as u64 - 1), size, value);
        }
        6 => {
            let offset = input.number(1) & !7;
            driver.bench.read_config(offset, 8);
        }
        7 | 8 => {
            let (index, page, length) = (input.small(1), input.number(1), input.small(3));
            let (flags, next) = (input.small(1), input.small(1));
            driver.describe(index, BUFFERS + (page << 10), length, flags, next);
        }
        9 => {
            let (place, address) = (input.number(2) & !15, input.number(8));
            let (length, flags) = (input.small(4), input.small(2));
            driver.describe_at(place, address, length, flags, input.small(2));
        }
        10 | 11 => driver.request(input.small(1)),
        12 => driver.set_available_index(input.small(2)),
        13 => driver.notify(),
        14 => {
            let offered = Features::from_bits_truncate(driver.offered());
            let wanted = Features::from_bits_truncate(input.number(5)) | Features::VERSION_1;
            driver.start(wanted & offered);
        }
        15 => driver.bench.hold_messages(input.number(1) & 1 == 1),
        16 => match input.number(1) % 4 {
            0 => drop(driver.bench.unmap_memory(0, KNOWN)),
            1 => drop(driver.bench.map_memory(0, KNOWN, true)),
            2 => drop(driver.bench.map_memory(0, KNOWN, false)),
            _ => drop(driver.bench.unmap_memory(0, u64::MAX)),
        },
        17 => {
            driver.supply.add(input.number(3));
            driver.waker.wake();
            driver.bench.wait_for_waker(Duration::ZERO);
        }
        18 => drop(driver.bench.fire_timer()),
        19 => {
            driver.bench.reconnect().unwrap();
            tell_memory(driver);
        }
        20 => driver.bench.reset(),
        _ => replace(driver, input.number(1), device),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let kind = input.number(1);
    let interface = if kind & 1 == 0 { Interface::Modern } else { Interface::Transitional };
    let prepare = |bench: TestBench| {
        let bench = memory::give(bench);
        let bench = if kind & 2 == 0 { bench.with_msix().unwrap() } else { bench };
        if kind & 4 == 0 { bench } else { bench.by_message().unwrap() }
    };
    let bytes = if kind & 16 == 0 { u64::MAX } else { 0 };
    let make = |entropy: Entropy| {
        let mut device = VirtioRng::new(entropy, interface);
        if kind & 32 == 0 {
            device.offer_packed_queue();
        }
        device
    };
    // A period is never over within a run, so that requests wait.
    let limit = Limit::new(1000, Duration::from_secs(3600)).unwrap();
    let limit = (kind & 64 != 0).then_some(limit);
    let mut driver = Driver::with_memory(bytes, limit, make, prepare);
    tell_memory(&mut driver);
    if kind & 8 == 0 {
        driver.start(SPLIT);
    }
    while !input.0.is_empty() {
        operate(&mut driver, &mut input, make);
    }
    assert!(driver.supply.drawn().1 <= MAX_BYTES as u64);
    // As a whole: the way of a loop through each byte would be counted, and takes longer than the device.
    const UNKNOWN: usize = (MEMORY - KNOWN) as usize;
    assert!(driver.memory(KNOWN, UNKNOWN) == [UNTOUCHED; UNKNOWN], "memory that is not the guest's");
    driver.bench.hold_messages(false);
    driver.bench.unmap_memory(0, u64::MAX);
    driver.bench.map_memory(0, MEMORY, true).unwrap();
    driver.bench.reset();
    driver.supply.add(100);
    if limit.is_none() {
        // Bytes that were read and not given out yet come first, however few they are.
        driver.place = PLACE;
        driver.start(SPLIT);
        driver.ask(1000);
        assert!(matches!(driver.answer(), Some((0, 1..=1000))));
        driver.bench.reset();
        driver.supply.add(100);
        driver.assert_works_without_interrupts();
    }
});
