//! A whole device in one file: a register that counts how often it was read, and one that sets it.
//!
//! `cargo run -p vfio-user-device --example counter -- --socket-path /tmp/counter.sock`, then attach a
//! QEMU to the socket; or see it in a guest at once: `./scripts/lab.sh --device
//! crates/vfio-user-device/examples/counter.rs`.

use std::process::ExitCode;

use vfio_user_device::serde::{Deserialize, Serialize};
use vfio_user_device::{Access, Bar, Bus, Device, DeviceConfig, Identity, Register};

const COUNT: u64 = 0x0;
const START: u64 = 0x4;

#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "vfio_user_device::serde")]
struct Counter {
    reads: u64,
}

impl Device for Counter {
    vfio_user_device::exchangeable!();

    fn config(&self) -> DeviceConfig {
        let registers = [Register::new("COUNT", COUNT, 4), Register::new("START", START, 4)];
        DeviceConfig::new(Identity::new(0x1234, 0xc0de))
            .bar(0, Bar::memory32(4096).registers(&registers))
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            COUNT => {
                self.reads += 1;
                self.reads
            }
            _ => 0,
        }
    }

    fn write(&mut self, _bus: &mut Bus, access: Access, value: u64) {
        if access.offset == START {
            self.reads = value;
        }
    }

    fn reset(&mut self, _bus: &mut Bus) {
        self.reads = 0;
    }
}

fn main() -> ExitCode {
    vfio_user_device::main(Counter::default())
}
