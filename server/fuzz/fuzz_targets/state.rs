//! The state that a client hands over when it moves a guest to a device here: any bytes.
//!
//! The first byte of an input says which device. If its bit 7 is set, the rest is the state. Otherwise the
//! state is what such a device says, with changes: 16 bits of place, how many bytes are left out
//! there, how many come instead, and those. Whether the device takes it or not, it works afterwards.
#![no_main]

// Only a part of them is used here.
#[allow(dead_code)]
#[path = "../../tests/virtio/driver.rs"]
mod driver;
#[allow(dead_code)]
#[path = "../../../crates/vfio-user-device/examples/edu.rs"]
mod edu;
#[path = "../memory.rs"]
mod memory;

use std::time::Duration;

use driver::{Driver, PLACE, SPLIT};
use entropy::service::Entropy;
use libfuzzer_sys::fuzz_target;
use my_rng_model::generator::Kind;
use my_rng_server::devices::my_rng::MyRng;
use my_rng_server::devices::virtio_rng::VirtioRng;
use vfio_user_device::fuzzing::migrate_with;
use vfio_user_device::{Device, TestBench};
use virtio_device::Interface;

/// Registers that are read afterwards, in bytes.
const REGISTERS: u64 = 0xa0;

/// What the input makes of a device's state.
fn change(mut state: Vec<u8>, kind: u8, mut input: &[u8]) -> Vec<u8> {
    if kind & 0x80 != 0 {
        return input.to_vec();
    }
    while let [low, high, left_out, instead, rest @ ..] = input {
        let place = usize::from(u16::from_le_bytes([*low, *high])) % (state.len() + 1);
        let end = state.len().min(place + usize::from(*left_out));
        let (new, rest) = rest.split_at(rest.len().min(usize::from(*instead)));
        state.splice(place..end, new.iter().copied());
        input = rest;
    }
    state
}

/// Uses a device whatever it has been given.
fn use_registers(bench: &mut TestBench, bar: u32) {
    for offset in (0..REGISTERS.min(bench.bar_size(bar))).step_by(4) {
        bench.read(bar, offset, 4);
    }
    for _ in 0..4 {
        bench.fire_timer();
        bench.wait_for_waker(Duration::ZERO);
    }
}

/// A device with registers alone. What is read at offset 0 after a reset, if that is always the same.
fn simple<D: Device + 'static>(make: impl Fn() -> D, kind: u8, input: &[u8], first: Option<u64>) {
    let mut bench = memory::give(TestBench::new(make()).unwrap());
    let _ = migrate_with(&mut bench, make(), |state| change(state, kind, input));
    use_registers(&mut bench, 0);
    bench.reset();
    let read = bench.read(0, 0, 4);
    assert!(first.is_none_or(|first| first == read), "{read:#x}");
}

fn virtio_rng(kind: u8, input: &[u8]) {
    let interface = if kind & 4 == 0 { Interface::Modern } else { Interface::Transitional };
    let make = |entropy: Entropy| {
        let mut device = VirtioRng::new(entropy, interface);
        device.offer_packed_queue();
        device
    };
    let mut driver = Driver::with_memory(u64::MAX, None, make, memory::give);
    if kind & 8 == 0 {
        driver.start(SPLIT);
    }
    if kind & 16 == 0 {
        // A request without bytes: it is pending.
        driver.supply.leave(0);
        driver.ask(100);
    }
    let source = Box::new(driver.supply.clone());
    let device = make(Entropy::new(source, driver.waker.clone(), None));
    let _ = migrate_with(&mut driver.bench, device, |state| change(state, kind, input));
    driver.supply.leave(1000);
    driver.waker.wake();
    driver.notify();
    use_registers(&mut driver.bench, driver::BAR);
    driver.bench.reset();
    driver.supply.leave(1000);
    driver.place = PLACE;
    driver.start(SPLIT);
    driver.ask(100);
    assert!(matches!(driver.answer(), Some((0, 1..=100))));
}

fuzz_target!(|data: &[u8]| {
    let [kind, input @ ..] = data else { return };
    match kind % 4 {
        0 => {
            let generator = if kind & 4 == 0 { Kind::Glibc } else { Kind::Chacha20 };
            simple(|| MyRng::new(generator.start(Some(1)).unwrap()), *kind, input, None);
        }
        1 => simple(edu::Edu::default, *kind, input, Some(0x0100_00ed)),
        _ => virtio_rng(*kind, input),
    }
});
