//! `my_rng`, the teaching device: a PCI random number generator with two registers.
//!
//! | register | offset | size | mode | meaning |
//! | --- | --- | --- | --- | --- |
//! | RANDOM | 0x0 | 4 | R | every read returns a new 32-bit number |
//! | SEED | 0x4 | 4 | W | writing seeds the generator; reads as 0 |
//!
//! Everything else in its 4 KiB reads as 0 and ignores writes. A read of one or two bytes of
//! RANDOM returns the low bytes of a new number; an access of eight bytes is two of four.
//!
//! When a client goes, the generator starts anew, so that no guest goes on from the seed of another.

use std::sync::Arc;

use vfio_user_kit::{Access, Bar, Bus, Description, Device, Identity, Register};

use super::{Kind, MakeError};
use crate::generator::{self, Generator};
use crate::meter::Meter;

/// How it is asked for.
pub const KIND: Kind = Kind {
    name: "my-rng",
    about: "the teaching device of virtualisation courses: two registers, RANDOM and SEED",
    options: &["generator", "seed", "keep_state"],
    make: |settings, surroundings| {
        let (kind, seed) = (settings.generator, settings.seed);
        let generator = kind.start(seed).map_err(MakeError::Generator)?;
        let device = MyRng::new(generator).counted_by(Arc::clone(&surroundings.meter));
        let restart = (!settings.keep_state).then_some(Restart { kind, seed });
        Ok(Box::new(MyRng { restart, ..device }))
    },
};

/// PCI vendor id.
pub const VENDOR_ID: u16 = 0x1234;
/// PCI device id.
pub const DEVICE_ID: u16 = 0xcafe;
/// PCI revision.
pub const REVISION: u8 = 0x10;
/// Size of BAR 0 in bytes.
pub const BAR_SIZE: u64 = 4096;
/// Offset of RANDOM in BAR 0.
pub const RANDOM: u64 = 0x0;
/// Offset of SEED in BAR 0.
pub const SEED: u64 = 0x4;

/// The device, with a generator of its own.
pub struct MyRng {
    generator: Box<dyn Generator>,
    /// How the generator starts anew when a client has gone, if it does.
    restart: Option<Restart>,
    meter: Arc<Meter>,
}

/// How a generator starts.
struct Restart {
    kind: generator::Kind,
    /// `None`: the operating system chooses.
    seed: Option<u32>,
}

impl MyRng {
    /// A device that answers with the numbers of this generator, whichever client asks.
    pub fn new(generator: Box<dyn Generator>) -> Self {
        MyRng { generator, restart: None, meter: Arc::default() }
    }

    /// Counts with this meter what is given out.
    pub fn counted_by(self, meter: Arc<Meter>) -> Self {
        MyRng { meter, ..self }
    }
}

impl Device for MyRng {
    fn describe(&self) -> Description {
        let registers = [Register::new("RANDOM", RANDOM, 4), Register::new("SEED", SEED, 4)];
        Description::new(Identity::new(VENDOR_ID, DEVICE_ID).revision(REVISION))
            .bar(0, Bar::memory32(BAR_SIZE).registers(&registers))
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            RANDOM => {
                self.meter.delivered(access.width.bytes() as u64);
                self.generator.next_u32().into()
            }
            _ => 0,
        }
    }

    fn write(&mut self, _bus: &mut Bus, access: Access, value: u64) {
        if access.offset == SEED {
            // A register of 32 bits: the kit lets no wider access through.
            self.generator.seed((value & 0xffff_ffff) as u32);
        }
    }

    fn disconnected(&mut self, _bus: &mut Bus) {
        let Some(Restart { kind, seed }) = &self.restart else { return };
        match kind.start(*seed) {
            Ok(generator) => self.generator = generator,
            Err(error) => log::error!(
                "my_rng: no randomness from the operating system ({error}): the next client gets \
                 the numbers that follow those of the last one"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use vfio_user_kit::TestBench;

    use super::*;
    use crate::generator::Glibc;

    /// The first numbers of seed 1.
    const NUMBERS: [u64; 4] = [1804289383, 846930886, 1681692777, 1714636915];

    fn bench() -> TestBench {
        TestBench::new(MyRng::new(Box::new(Glibc::from_seed(1)))).unwrap()
    }

    #[test]
    fn every_read_of_random_is_a_new_number() {
        let mut bench = bench();
        assert_eq!(NUMBERS.map(|_| bench.read(0, RANDOM, 4)), NUMBERS);
    }

    #[test]
    fn a_write_to_seed_restarts_the_numbers() {
        let mut bench = bench();
        bench.read(0, RANDOM, 4);
        bench.write(0, SEED, 4, 1);
        assert_eq!(bench.read(0, RANDOM, 4), NUMBERS[0]);
        bench.write(0, SEED, 4, 2);
        assert_ne!(bench.read(0, RANDOM, 4), NUMBERS[0]);
    }

    #[test]
    fn narrow_reads_return_the_low_bytes_of_a_new_number() {
        let mut bench = bench();
        assert_eq!(bench.read(0, RANDOM, 1), NUMBERS[0] & 0xff);
        assert_eq!(bench.read(0, RANDOM, 2), NUMBERS[1] & 0xffff);
        assert_eq!(bench.read(0, RANDOM, 4), NUMBERS[2]);
    }

    #[test]
    fn wide_accesses_are_two_with_the_low_one_first() {
        let mut bench = bench();
        assert_eq!(bench.read(0, RANDOM, 8), NUMBERS[0], "SEED reads as 0 above it");
        bench.write(0, RANDOM, 8, 1 << 32);
        assert_eq!(bench.read(0, RANDOM, 4), NUMBERS[0], "the high half went to SEED");
    }

    #[test]
    fn narrow_writes_seed_with_what_was_written() {
        let mut bench = bench();
        bench.read(0, RANDOM, 4);
        bench.write(0, SEED, 1, 1);
        assert_eq!(bench.read(0, RANDOM, 4), NUMBERS[0]);
        bench.write(0, SEED + 1, 1, 9);
        bench.write(0, SEED + 2, 2, 9);
        assert_eq!(bench.read(0, RANDOM, 4), NUMBERS[1], "neither is SEED");
    }

    #[test]
    fn the_rest_of_the_page_is_empty() {
        let mut bench = bench();
        for offset in (SEED..BAR_SIZE).step_by(4) {
            assert_eq!(bench.read(0, offset, 4), 0, "{offset:#x}");
        }
        for offset in (8..BAR_SIZE).step_by(4) {
            bench.write(0, offset, 4, 1);
        }
        bench.write(0, RANDOM, 4, 1);
        assert_eq!(bench.read(0, RANDOM, 4), NUMBERS[0]);
    }
}
