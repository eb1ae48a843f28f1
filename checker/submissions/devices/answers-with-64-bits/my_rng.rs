//! A random number generator on the PCI bus: reads of RANDOM give numbers, a write to SEED starts
//! them again.

use std::process::ExitCode;

use vfio_user_device::{Access, Bar, Bus, DeviceConfig, Device, Identity, Register, Width};

const RANDOM: u64 = 0x0;
const SEED: u64 = 0x4;

struct MyRng {
    state: u64,
}

impl MyRng {
    /// A linear congruential generator, with Knuth's numbers.
    fn random(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.state >> 32) as u32
    }

    fn seed(&mut self, seed: u64) {
        self.state = seed;
    }
}

impl Device for MyRng {
    fn config(&self) -> DeviceConfig {
        let registers = [Register::new("RANDOM", RANDOM, 4), Register::new("SEED", SEED, 4)];
        DeviceConfig::new(Identity::new(0x1234, 0xcafe).revision(0x10))
            .bar(0, Bar::memory32(4096).max_access_width(Width::Qword).registers(&registers))
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            RANDOM => u64::from(self.random()) << 32 | u64::from(self.random()),
            _ => 0,
        }
    }

    fn write(&mut self, _bus: &mut Bus, access: Access, value: u64) {
        if access.offset == SEED {
            self.seed(value);
        }
    }
}

fn main() -> ExitCode {
    vfio_user_device::main(MyRng { state: 1 })
}
