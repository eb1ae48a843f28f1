//! The published device with a mode register. The profile beside this file, `mode.toml`, says what
//! is where.

use std::process::ExitCode;

use vfio_user_device::{Access, Bar, Bus, DeviceConfig, Device, Identity, Register};

const RANDOM: u64 = 0x0;
const SEED: u64 = 0x4;
const MODE: u64 = 0x8;

/// The bits that MODE keeps: whether the numbers count up from the seed.
const MODE_COUNT: u64 = 1;

#[derive(Default)]
struct MyRng {
    state: u64,
    mode: u64,
}

impl MyRng {
    /// The next number, by Vigna's splitmix64.
    fn next(&mut self) -> u64 {
        if self.mode & MODE_COUNT != 0 {
            self.state = self.state.wrapping_add(1);
            return self.state;
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Device for MyRng {
    fn config(&self) -> DeviceConfig {
        let registers = [
            Register::new("RANDOM", RANDOM, 4),
            Register::new("SEED", SEED, 4),
            Register::new("MODE", MODE, 4),
        ];
        DeviceConfig::new(Identity::new(0x1234, 0xcafe).revision(0x10))
            .bar(0, Bar::memory32(4096).registers(&registers))
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        // The kit drops the bits that are too many.
        match access.offset {
            RANDOM => self.next(),
            MODE => self.mode,
            _ => 0,
        }
    }

    fn write(&mut self, _bus: &mut Bus, access: Access, value: u64) {
        match access.offset {
            SEED => self.state = value,
            MODE => self.mode = value & MODE_COUNT,
            _ => {}
        }
    }

    fn reset(&mut self, _bus: &mut Bus) {
        // Where the numbers are, they stay: as in the published device.
        self.mode = 0;
    }
}

fn main() -> ExitCode {
    vfio_user_device::main(MyRng::default())
}
