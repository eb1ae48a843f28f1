//! Devices that can be, and what is said of those that cannot.

use super::*;
use crate::pci::config::{BarWindow, Identity};

fn device() -> DeviceConfig {
    DeviceConfig::new(Identity::new(0x1234, 0xcafe))
}

const WINDOW: BarWindow = BarWindow { bar: 4, offset: 8, length: 12, data: 16 };

#[test]
fn possible_devices_pass() {
    // Whatever the size of a page is.
    let msix = Msix { vectors: 3, bar: 2, table: 0, pba: 0x800 };
    let possible = device()
        .bar(0, Bar::memory32(4096).registers(&[Register::new("LAST", 4092, 4)]))
        .bar(1, Bar::io(32))
        .bar(2, Bar::memory64(128 << 10).mmap_area(64 << 10..128 << 10))
        .msix(msix)
        .msi(32)
        .window_capability(9, vec![0; 18], WINDOW)
        .capability(9, vec![0; 14]);
    assert_eq!(possible.validate(), Ok(()));
}

#[test]
fn impossible_devices_are_told_why() {
    let msix = Msix { vectors: 2, bar: 0, table: 0, pba: 32 };
    let bar0 = |bar| device().bar(0, bar);
    let memory = || Bar::memory32(4096);
    let impossible = [
        device().bar(6, memory()),
        bar0(Bar::memory32(5000)),
        bar0(Bar::memory32(8)),
        bar0(Bar::io(512)),
        device().bar(5, Bar::memory64(4096)),
        bar0(Bar::memory64(4096)).bar(1, memory()),
        bar0(memory().registers(&[Register::new("OUT", 4094, 4)])),
        bar0(memory().registers(&[Register::new("FAR", u64::MAX, 4)])),
        bar0(memory().mmap_area(0..100)),
        bar0(memory().mmap_area(0..4096).registers(&[Register::new("IN", 4, 4)])),
        bar0(memory().mmap_area(0..4096)).msix(Msix { pba: 64, ..msix }),
        bar0(Bar::memory32(8192).mmap_area(0..8192).mmap_area(4096..8192)),
        bar0(Bar::io(32).prefetchable()),
        bar0(Bar::memory64(1 << 34)).msix(Msix { table: 1 << 32, ..msix }),
        bar0(memory()).msix(Msix { table: u64::MAX - 7, ..msix }),
        device().capability(0x11, vec![0; 10]),
        device().capability(0x05, vec![0; 10]),
        device().capability(0x01, vec![0; 6]),
        device().capability(0x10, vec![0; 58]),
        device().window_capability(0x13, vec![0; 18], WINDOW),
        device().msi(0),
        device().msi(64),
        device().msi(1).capability(9, vec![0; 176]),
        device().msix(msix),
        bar0(memory()).msix(Msix { pba: 16, ..msix }),
        bar0(memory()).msix(Msix { vectors: 0, ..msix }),
        bar0(memory()).msix(Msix { vectors: 2048, pba: 0x8000, ..msix }),
        device().capability(9, vec![0; 200]),
        device().window_capability(9, vec![0; 17], WINDOW),
        device().window_capability(9, vec![0; 18], BarWindow { bar: 1, ..WINDOW }),
        device().window_capability(9, vec![0; 18], WINDOW).window_capability(
            9,
            vec![0; 18],
            WINDOW,
        ),
    ];
    for config in impossible {
        assert!(config.validate().is_err(), "{config:?}");
    }
    let error = bar0(memory().registers(&[Register::new("OUT", 4094, 4)])).validate().unwrap_err();
    assert_eq!(
        error.to_string(),
        "register OUT (4 bytes at 0xffe) reaches past the end of BAR 0, which has 0x1000 bytes: \
         give it a smaller offset, or the BAR more bytes"
    );
}

#[test]
fn msix_over_a_register_is_rejected_by_name() {
    let table = Msix { vectors: 4, bar: 0, table: 0x40, pba: 0x800 };
    let with = |offset, size| {
        let registers = [Register::new("CONTROL", offset, size)];
        device().bar(0, Bar::memory32(4096).registers(&registers)).msix(table).validate()
    };
    for (offset, size) in [(0x3c, 4), (0x80, 4), (0x7fc, 4), (0x808, 8)] {
        assert_eq!(with(offset, size), Ok(()), "{offset:#x}");
    }
    for (offset, size) in [(0x3c, 8), (0x7c, 4), (0x40, 1), (0x7fc, 8), (0x804, 4), (0, 4096)] {
        assert!(with(offset, size).is_err(), "{offset:#x}");
    }
    assert_eq!(
        with(0x804, 4).unwrap_err().to_string(),
        "MSI-X pending bits at 0x800 to 0x807 of BAR 0 overlap register CONTROL (4 bytes \
         at 0x804): move one of them"
    );
}

#[test]
fn capabilities_that_drivers_write_to_are_rejected_by_name() {
    let refused = device().capability(0x10, vec![0; 58]).validate().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "capability 0x10 (PCI Express) is not supported: drivers write to it, and what \
         DeviceConfig::capability adds is read-only; leave it out"
    );
}

#[test]
fn errors_of_bars_and_registers_are_told_what_to_do() {
    let bar0 = |bar| device().bar(0, bar).validate().unwrap_err().to_string();
    let memory = || Bar::memory32(4096);
    assert_eq!(
        bar0(Bar::memory32(5000)),
        "BAR 0 of 5000 bytes (the next power of two is 8192): 32-bit memory has 16 to 2^31 \
         bytes, 64-bit memory up to 2^40, I/O ports 4 to 256, and always a power of two"
    );
    assert!(bar0(Bar::memory32(8)).starts_with("BAR 0 of 8 bytes: 32-bit memory has 16"));
    let a = Register::new("A", 0x2, 4);
    assert_eq!(
        bar0(memory().registers(&[a, Register::new("B", 0x10, 4), Register::new("C", 0, 4)])),
        "registers C (4 bytes at 0x0) and A (4 bytes at 0x2) of BAR 0 overlap: move one of \
         them, or name the place once if reads and writes differ there (\"C/A\")"
    );
    assert_eq!(
        bar0(memory().registers(&[Register::new("NOTHING", 0x8, 0)])),
        "register NOTHING at 0x8 of BAR 0 has a size of 0 bytes: say how many it has"
    );
    let twice = device().bar(0, memory()).bar(0, memory());
    assert_eq!(twice.validate(), Err(ConfigError::BarTwice(0)));
    assert_eq!(device().msi(3).validate(), Err(ConfigError::MsiVectors(3)));
}
