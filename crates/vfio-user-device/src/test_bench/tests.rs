//! What a test sees of a device, and what it is told of its own mistakes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::{Access, Bar, Bus, DeviceConfig, Identity};

/// A device that says no to nothing.
struct Silent;

impl Device for Silent {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(1, 2)).bar(0, Bar::memory32(4096)).msi(2)
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, bus: &mut Bus, _access: Access, value: u64) {
        bus.signal_vector(u16::try_from(value).unwrap());
    }
}

fn panic_of(access: impl FnOnce(&mut TestBench)) -> String {
    let mut bench = TestBench::new(Silent).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| access(&mut bench))).unwrap_err();
    *panic.downcast::<String>().unwrap()
}

#[test]
fn an_access_that_a_guest_cannot_make_ends_the_test_with_its_place() {
    let past = panic_of(|bench| _ = bench.read(0, 0x1000, 4));
    assert_eq!(past, "read of 4 bytes at 0x1000 of BAR 0: the BAR ends at 0x1000");
    let across = panic_of(|bench| bench.write(0, 0xfff, 2, 0));
    assert_eq!(across, "write of 2 bytes at 0xfff of BAR 0: the BAR ends at 0x1000");
    let size = panic_of(|bench| _ = bench.read(0, 0, 3));
    assert_eq!(size, "read of 3 bytes at 0x0 of BAR 0: an access has 1, 2, 4 or 8 bytes");
    let bar = panic_of(|bench| _ = bench.read(1, 0, 1));
    assert_eq!(bar, "read of 1 byte at 0x0 of BAR 1: the device's configuration has no BAR 1");
}

#[test]
fn msi_vectors_interrupt_a_test_also_after_a_reconnect() {
    let mut bench = TestBench::new(Silent).unwrap().with_msi().unwrap();
    bench.write(0, 0, 4, 1);
    assert!(!bench.take_interrupt(0) && bench.take_interrupt(1));
    bench.reconnect().unwrap();
    bench.write(0, 0, 4, 0);
    assert!(bench.take_interrupt(0));
    assert!(TestBench::new(Silent).unwrap().with_msix().is_err(), "it has none");
}

/// A device with a register of its own in configuration space, which takes no cache line size.
#[derive(Default)]
struct OwnRegister(u8);

impl Device for OwnRegister {
    fn config(&self) -> DeviceConfig {
        Silent.config()
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}

    fn config_read(&mut self, bus: &mut Bus, offset: usize, data: &mut [u8]) {
        bus.config_read(offset, data);
        if offset == 0xf0 {
            data[0] = self.0;
        }
    }

    fn config_write(&mut self, bus: &mut Bus, offset: usize, data: &[u8]) {
        match offset {
            0x0c => {}
            0xf0 => self.0 = data[0],
            _ => bus.config_write(offset, data),
        }
    }
}

#[test]
fn a_device_answers_for_configuration_space_if_it_wants_to() {
    let mut bench = TestBench::new(OwnRegister::default()).unwrap();
    bench.write_config(0xf0, 1, 0x5a);
    assert_eq!(bench.read_config(0xf0, 1), 0x5a);
    for (offset, kept) in [(0x0c, 0), (0x3c, 7), (0x3d, 0)] {
        bench.write_config(offset, 1, 7);
        assert_eq!(bench.read_config(offset, 1), kept, "{offset:#x}");
    }
    assert_eq!(bench.read_config(0, 4), 0x0002_0001);
}
