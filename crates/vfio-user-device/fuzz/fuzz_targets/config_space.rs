//! Sequences of reads and writes of configuration space, next to a model of it.
//!
//! An input is a list of operations: a byte that says which (a write, a read, a write to the
//! registers of BAR 0, a reset), one of offset, one of length, and for writes the data.
#![no_main]

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../../tests/common/device.rs"]
mod device;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use vfio_user_device::fuzzing::{CONFIG_REGION, PciFunction};

const SIZE: usize = 256;
/// Status register, and its bit that shows the interrupt pin.
const STATUS: usize = 6;
const STATUS_INTERRUPT: u8 = 1 << 3;

/// Bits that a driver may write: offset and mask, as PCI has them for this device.
const WRITABLE: [(usize, &[u8]); 9] = [
    // Command: I/O, memory, bus master, parity, SERR, interrupt disable.
    (0x04, &[0x47, 0x05]),
    // Cache line size, interrupt line.
    (0x0c, &[0xff]),
    (0x3c, &[0xff]),
    // BARs of 4 KiB, 4 KiB, 16 KiB in 64 bits, 8 KiB, 32 ports.
    (0x10, &[0x00, 0xf0, 0xff, 0xff, 0x00, 0xf0, 0xff, 0xff]),
    (0x18, &[0x00, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    (0x20, &[0x00, 0xe0, 0xff, 0xff]),
    (0x24, &[0xe0, 0xff, 0xff, 0xff]),
    // MSI-X message control: function mask, enable.
    (0x42, &[0x00, 0xc0]),
    // MSI message control: enable, vectors allowed. Address, data.
    (0x4e, &[0x71, 0x00, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
];

struct Model {
    at_reset: [u8; SIZE],
    bytes: [u8; SIZE],
    writable: [u8; SIZE],
}

fn whole(function: &mut PciFunction) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    function.read(CONFIG_REGION, 0, &mut bytes);
    bytes[STATUS] &= !STATUS_INTERRUPT;
    bytes
}

impl Model {
    fn new(function: &mut PciFunction) -> Self {
        let bytes = whole(function);
        let mut writable = [0; SIZE];
        for (offset, mask) in WRITABLE {
            writable[offset..offset + mask.len()].copy_from_slice(mask);
        }
        Model { at_reset: bytes, bytes, writable }
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        for (at, new) in (offset..).zip(data) {
            self.bytes[at] = (self.bytes[at] & !self.writable[at]) | (new & self.writable[at]);
        }
    }
}

thread_local! {
    /// The device of all runs: the memory of its BARs costs more than a run. And as it is at reset.
    static FUNCTION: RefCell<(PciFunction, [u8; SIZE])> = {
        let mut function = PciFunction::new(device::Everything::default());
        let at_reset = whole(&mut function);
        RefCell::new((function, at_reset))
    };
}

fn run(function: &mut PciFunction, at_reset: &[u8; SIZE], data: &[u8]) {
    function.reset();
    let mut model = Model::new(function);
    assert_eq!(model.at_reset, *at_reset, "the run before has left something");
    let mut rest = data;
    while let [operation, offset, length, tail @ ..] = rest {
        let offset = usize::from(*offset);
        let length = usize::from(*length).min(SIZE - offset);
        rest = tail;
        match operation % 8 {
            0..=3 => {
                let (data, tail) = tail.split_at(length.min(tail.len()));
                rest = tail;
                function.write(CONFIG_REGION, offset as u64, data);
                model.write(offset, data);
            }
            4 | 5 => {
                let mut bytes = vec![0; length];
                function.read(CONFIG_REGION, offset as u64, &mut bytes);
                for (at, byte) in (offset..).zip(bytes) {
                    let ignored = if at == STATUS { STATUS_INTERRUPT } else { 0 };
                    assert_eq!(byte & !ignored, model.bytes[at], "{at:#x}");
                }
            }
            6 => {
                let (data, tail) = tail.split_at(length.min(tail.len()).min(8));
                rest = tail;
                // The pin, vectors, DMA: none of it may change configuration space.
                function.write(0, offset as u64, data);
            }
            _ => {
                function.reset();
                model.bytes = model.at_reset;
            }
        }
        assert_eq!(whole(function), model.bytes);
    }
}

fuzz_target!(|data: &[u8]| {
    FUNCTION.with_borrow_mut(|(function, at_reset)| run(function, at_reset, data));
});
