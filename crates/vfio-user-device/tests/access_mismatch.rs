//! What the log says of a guest's accesses that fit no register.

#[path = "common/kept_log.rs"]
mod kept_log;

use kept_log::Kept;
use vfio_user_device::{Access, Bar, Bus, Device, DeviceConfig, Identity, Register, TestBench};

struct Two;

impl Device for Two {
    fn config(&self) -> DeviceConfig {
        let registers = [Register::new("ID", 0, 4), Register::new("SEED", 4, 4)];
        DeviceConfig::new(Identity::new(1, 2))
            .bar(0, Bar::memory32(4096).registers(&registers))
            .bar(1, Bar::memory32(4096))
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        7
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}
}

/// The only test here: there is one log in a process.
#[test]
fn accesses_that_fit_no_register_are_logged_ten_times_for_each_client() {
    let log = Kept::start();
    let mut bench = TestBench::new(Two).unwrap();

    assert_eq!(bench.read(0, 0, 8), 7 << 32 | 7, "two registers, in two accesses");
    bench.write(0, 4, 4, 1);
    bench.read(1, 3, 1);
    assert_eq!(log.take(), [""; 0], "all of it fits");

    assert_eq!(bench.read(0, 5, 1), 7, "the device is asked all the same");
    bench.write(0, 0x10, 4, 1);
    assert_eq!(
        log.take(),
        [
            "BAR 0: read of 1 byte at 0x5: inside SEED (4 bytes at 0x4)",
            "BAR 0: write of 4 bytes at 0x10: there is no register"
        ]
    );

    for _ in 0..100 {
        bench.read(0, 0, 2);
    }
    let lines = log.take();
    assert_eq!(lines.len(), 8);
    assert_eq!(
        lines[7],
        "BAR 0: read of 2 bytes at 0x0: narrower than ID (4 bytes at 0x0) \
         (more of these with debug only)"
    );
    bench.reconnect().unwrap();
    bench.read(0, 5, 1);
    assert_eq!(log.take().len(), 1, "the next client's count from one");
}
