//! my_rng, a random number generator on the PCI bus (1234:cafe).

use std::process::ExitCode;
use std::time::Duration;

use vfio_user_device::{Access, Bar, Bus, Device, DeviceConfig, Identity, Msix, Register};

const RANDOM: u64 = 0x0;
const SEED: u64 = 0x4;
const CONTROL: u64 = 0x8;
const STATUS: u64 = 0xc;
const NUMBER: u64 = 0x10;

/// STATUS.
const READY: u32 = 1;

#[derive(Default)]
struct MyRng {
    /// The state of the generator: never 0, except before the first number.
    state: u32,
    status: u32,
    number: u32,
}

impl MyRng {
    /// The next number.
    fn random(&mut self) -> u32 {
        if self.state == 0 {
            self.state = 1;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state
    }

    /// The same seed gives the same numbers.
    fn seed(&mut self, seed: u32) {
        self.state = seed;
    }
}

impl Device for MyRng {
    fn config(&self) -> DeviceConfig {
        let registers = [
            Register::new("RANDOM", RANDOM, 4),
            Register::new("SEED", SEED, 4),
            Register::new("CONTROL", CONTROL, 4),
            Register::new("STATUS", STATUS, 4),
            Register::new("NUMBER", NUMBER, 4),
        ];
        DeviceConfig::new(Identity::new(0x1234, 0xcafe).revision(0x10))
            .bar(0, Bar::memory32(4096).registers(&registers))
            .msix(Msix { vectors: 1, bar: 0, table: 0x800, pba: 0xc00 })
    }

    /// The guest reads. The value that is returned is cut to the width of the access.
    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            RANDOM => self.random().into(),
            STATUS => self.status.into(),
            NUMBER => self.number.into(),
            _ => 0,
        }
    }

    /// The guest writes.
    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        match access.offset {
            SEED => self.seed(value as u32),
            CONTROL if value & 1 != 0 && self.status == 0 => {
                bus.set_timer(0, Duration::from_millis(1));
            }
            STATUS if value & 1 != 0 => {
                self.status = 0;
                self.number = 0;
            }
            _ => {}
        }
    }

    /// A timer that was set is due.
    fn on_timer(&mut self, bus: &mut Bus, _id: u32) {
        self.number = self.random();
        self.status = READY;
        bus.signal_vector(0);
    }

    /// The guest restarts.
    fn reset(&mut self, bus: &mut Bus) {
        bus.cancel_timer(0);
        *self = Self::default();
    }
}

fn main() -> ExitCode {
    vfio_user_device::main(MyRng::default())
}
