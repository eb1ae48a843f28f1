//! my_rng, a random number generator on the PCI bus (1234:cafe).

use std::process::ExitCode;

use vfio_user_device::{Access, Bar, Bus, Device, DeviceConfig, Identity, Register};

const RANDOM: u64 = 0x0;
const SEED: u64 = 0x4;
// TODO: CONTROL, STATUS, NUMBER

#[derive(Default)]
struct MyRng {
    // TODO: what does the device have to remember from one access to the next?
}

impl MyRng {
    /// The next number.
    fn random(&mut self) -> u32 {
        // TODO
        0
    }

    /// The same seed gives the same numbers.
    fn seed(&mut self, _seed: u32) {
        // TODO
    }
}

impl Device for MyRng {
    fn config(&self) -> DeviceConfig {
        let registers = [Register::new("RANDOM", RANDOM, 4), Register::new("SEED", SEED, 4)];
        // TODO: MSI-X
        DeviceConfig::new(Identity::new(0x1234, 0xcafe).revision(0x10))
            .bar(0, Bar::memory32(4096).registers(&registers))
    }

    /// The guest reads. The value that is returned is cut to the width of the access.
    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            RANDOM => self.random().into(),
            _ => 0,
        }
    }

    /// The guest writes.
    fn write(&mut self, _bus: &mut Bus, access: Access, value: u64) {
        match access.offset {
            SEED => self.seed(value as u32),
            _ => {}
        }
    }

    /// A timer that was set is due.
    fn on_timer(&mut self, _bus: &mut Bus, _id: u32) {
        // TODO
    }

    /// The guest restarts.
    fn reset(&mut self, _bus: &mut Bus) {
        // TODO
    }
}

fn main() -> ExitCode {
    vfio_user_device::main(MyRng::default())
}
