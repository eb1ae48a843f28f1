//! The exercise: `my_rng`, a random number generator on the PCI bus (1234:cafe), with its two
//! registers left to you. As it stands, every read gives 0. Copy this file, fill in the two
//! functions, and see it in a guest: `./scripts/lab.sh --device my_device.rs`.

use std::process::ExitCode;

use vfio_user_device::{Access, Bar, Bus, DeviceConfig, Device, Identity, Register};

/// Read: a new random number every time.
const RANDOM: u64 = 0x0;
/// Written: the seed. Read: 0.
const SEED: u64 = 0x4;

#[derive(Default)]
struct MyRng {
    // What does the device have to remember from one access to the next?
}

impl MyRng {
    /// The guest reads RANDOM.
    fn random(&mut self) -> u32 {
        0
    }

    /// The guest writes SEED (32 bits): from now on, the same seed gives the same numbers.
    fn seed(&mut self, _seed: u64) {}
}

impl Device for MyRng {
    fn config(&self) -> DeviceConfig {
        let registers = [Register::new("RANDOM", RANDOM, 4), Register::new("SEED", SEED, 4)];
        DeviceConfig::new(Identity::new(0x1234, 0xcafe).revision(0x10))
            .bar(0, Bar::memory32(4096).registers(&registers))
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            RANDOM => self.random().into(),
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
    vfio_user_device::main(MyRng::default())
}
