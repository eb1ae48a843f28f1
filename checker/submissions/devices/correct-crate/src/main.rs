//! A random number generator on the PCI bus: reads of RANDOM give numbers, a write to SEED starts
//! them again.

mod xorshift;

use std::process::ExitCode;

use vfio_user_device::{Access, Bar, Bus, DeviceConfig, Device, Identity, Register};
use xorshift::Xorshift;

const RANDOM: u64 = 0x0;
const SEED: u64 = 0x4;

struct MyRng {
    generator: Xorshift,
}

impl Device for MyRng {
    fn config(&self) -> DeviceConfig {
        let registers = [Register::new("RANDOM", RANDOM, 4), Register::new("SEED", SEED, 4)];
        DeviceConfig::new(Identity::new(0x1234, 0xcafe).revision(0x10))
            .bar(0, Bar::memory32(4096).registers(&registers))
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            RANDOM => self.generator.next().into(),
            _ => 0,
        }
    }

    fn write(&mut self, _bus: &mut Bus, access: Access, value: u64) {
        if access.offset == SEED {
            self.generator = Xorshift::new(value as u32);
        }
    }
}

fn main() -> ExitCode {
    vfio_user_device::main(MyRng { generator: Xorshift::new(1) })
}
