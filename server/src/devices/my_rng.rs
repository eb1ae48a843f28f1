//! `my_rng`, the teaching device: a PCI random number generator with two
//! [registers](my_rng_model::registers).
//!
//! Everything else in its 4 KiB reads as 0 and ignores writes. A read of one or two bytes of
//! RANDOM returns the low bytes of a new number; an access of eight bytes is two of four.
//!
//! When a client goes, the generator starts anew, so that no guest goes on from the seed of another.

use std::sync::Arc;

use clap::Args;
use my_rng_model::registers::{BAR_SIZE, DEVICE_ID, RANDOM, REVISION, SEED, VENDOR_ID};
use serde::{Deserialize, Serialize};
use vfio_user_device::{
    Access, Bar, Bus, Device, DeviceConfig, DeviceState, Identity, Register, StateError,
};

use super::option_values::{is_default, one_of, text};
use super::{DeviceContext, MakeDevice, MakeError};
use entropy::meter::Meter;
use my_rng_model::generator::{self, Generator, GeneratorState};

/// What it can be told.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[command(next_help_heading = "Options of --device my-rng")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MyRngOptions {
    /// Where the numbers come from: the ChaCha20 stream cipher, whose key begins with the seed, or
    /// srand() and rand() of the GNU C library, bit by bit.
    #[arg(long, value_name = "GENERATOR", default_value_t)]
    #[arg(value_parser = one_of(generator::Kind::ALL, generator::Kind::name))]
    #[serde(with = "text", skip_serializing_if = "is_default")]
    pub generator: generator::Kind,

    /// Seed the generator with N (decimal, or hexadecimal with 0x), as if the guest had written it
    /// to SEED. Without it the operating system chooses.
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    #[serde(skip_serializing_if = "is_default")]
    pub seed: Option<u32>,

    /// Let the generator go on where it is when a virtual machine goes. Otherwise it starts anew, as
    /// --seed says, so that the next one does not see numbers of a seed that the last one chose.
    #[arg(long)]
    #[serde(skip_serializing_if = "is_default")]
    pub keep_state: bool,
}

fn parse_seed(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{error}; a number from 0 to 4294967295 is needed"))
}

impl MakeDevice for MyRngOptions {
    const NAME: &'static str = "my-rng";
    const ABOUT: &'static str =
        "the teaching device of virtualisation courses: two registers, RANDOM and SEED";

    fn make(&self, context: &DeviceContext) -> Result<Box<dyn Device>, MakeError> {
        let (kind, seed) = (self.generator, self.seed);
        let generator = kind.start(seed).map_err(MakeError::Generator)?;
        let device = MyRng::new(generator).counted_by(Arc::clone(&context.meter));
        let restart = (!self.keep_state).then_some((kind, seed));
        Ok(Box::new(MyRng { restart, ..device }))
    }
}

/// The device, with a generator of its own.
pub struct MyRng {
    generator: Box<dyn Generator>,
    /// Which generator starts anew when a client has gone, and its seed, if it does. Without a seed, the
    /// operating system chooses.
    restart: Option<(generator::Kind, Option<u32>)>,
    meter: Arc<Meter>,
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
    fn config(&self) -> DeviceConfig {
        let registers = [Register::new("RANDOM", RANDOM, 4), Register::new("SEED", SEED, 4)];
        DeviceConfig::new(Identity::new(VENDOR_ID, DEVICE_ID).revision(REVISION))
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

    fn on_disconnect(&mut self, _bus: &mut Bus) {
        let Some((kind, seed)) = self.restart else { return };
        match kind.start(seed) {
            Ok(generator) => self.generator = generator,
            Err(error) => log::error!(
                "my_rng: no randomness from the operating system ({error}): the next client gets \
                 the numbers that follow those of the last one"
            ),
        }
    }

    fn save(&self) -> Result<DeviceState, StateError> {
        DeviceState::of(&self.generator.state())
    }

    fn restore(&mut self, _bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        let generator = state.get::<GeneratorState>()?.start();
        let wrong = || StateError::Content("the generator has no such place".into());
        self.generator = generator.ok_or_else(wrong)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vfio_user_device::TestBench;

    use super::*;
    use my_rng_model::generator::Glibc;

    /// The first numbers of seed 1.
    const NUMBERS: [u64; 4] = [1804289383, 846930886, 1681692777, 1714636915];

    fn bench() -> TestBench {
        TestBench::new(MyRng::new(Box::new(Glibc::from_seed(1)))).unwrap()
    }

    #[test]
    fn seeds_are_decimal_or_hexadecimal() {
        assert_eq!(parse_seed("42"), Ok(42));
        assert_eq!(parse_seed("0xffffffff"), Ok(u32::MAX));
        assert!(parse_seed("4294967296").is_err());
        assert!(parse_seed("-1").is_err());
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

    /// One step of a guest, or of its host.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Read { offset: u64, size: usize },
        Write { offset: u64, size: usize, value: u64 },
        Reset,
        Exchange,
        Migrate,
    }

    fn step() -> impl Strategy<Value = Step> {
        let place = (0_u64..4, prop::sample::select(vec![1_usize, 2, 4, 8]));
        prop_oneof![
            4 => place.clone().prop_map(|(word, size)| Step::Read { offset: 4 * word, size }),
            2 => (place, any::<u64>())
                .prop_map(|((word, size), value)| Step::Write { offset: 4 * word, size, value }),
            1 => Just(Step::Reset),
            2 => Just(Step::Exchange),
            2 => Just(Step::Migrate),
        ]
    }

    proptest! {
        #[test]
        fn another_device_at_any_point_is_invisible(
            kind in prop::sample::select(generator::Kind::ALL.to_vec()),
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let device = |seed| MyRng::new(kind.start(Some(seed)).unwrap());
            let mut benches = [(); 2].map(|()| TestBench::new(device(1)).unwrap());
            for step in &steps {
                let seen = benches.each_mut().map(|bench| match *step {
                    Step::Read { offset, size } => bench.read(0, offset, size),
                    Step::Write { offset, size, value } => {
                        bench.write(0, offset, size, value);
                        0
                    }
                    Step::Reset => {
                        bench.reset();
                        0
                    }
                    Step::Exchange | Step::Migrate => 0,
                });
                prop_assert_eq!(seen[0], seen[1], "{:?}", step);
                match step {
                    Step::Exchange => benches[0].exchange(device(7)).unwrap(),
                    Step::Migrate => benches[0].migrate(device(7)).unwrap(),
                    _ => {}
                }
            }
        }
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
