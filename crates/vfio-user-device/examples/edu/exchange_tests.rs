//! A guest cannot tell whether `edu` was exchanged or migrated, whatever it does.

use proptest::prelude::*;
use vfio_user_device::TestBench;

use super::*;

/// One step of a guest, or of its host.
#[derive(Clone, Debug)]
enum Step {
    Read { register: usize, size: usize },
    Write { register: usize, size: usize, value: u64 },
    Config { offset: u64, value: u64 },
    Timer,
    HoldMessages(bool),
    Exchange,
    Migrate,
}

fn step() -> impl Strategy<Value = Step> {
    let register = 0..REGISTERS.len();
    let size = prop::sample::select(vec![4_usize, 8]);
    let value =
        prop_oneof![0_u64..16, Just(BUFFER), Just(BUFFER + 16), 0_u64..0x2000, any::<u64>()];
    prop_oneof![
        1 => (register.clone(), size.clone()).prop_map(|(register, size)| Step::Read { register, size }),
        4 => (register, size, value)
            .prop_map(|(register, size, value)| Step::Write { register, size, value }),
        1 => (prop::sample::select(vec![0x04_u64, 0x3c, 0x10, 0x42]), any::<u64>())
            .prop_map(|(offset, value)| Step::Config { offset, value }),
        2 => Just(Step::Timer),
        1 => any::<bool>().prop_map(Step::HoldMessages),
        2 => Just(Step::Exchange),
        2 => Just(Step::Migrate),
    ]
}

/// Does a step; what a guest sees of it.
fn take(bench: &mut TestBench, step: &Step, exchange: bool) -> u64 {
    match *step {
        Step::Read { register, size } => bench.read(0, REGISTERS[register].offset, size),
        Step::Write { register, size, value } => {
            bench.write(0, REGISTERS[register].offset, size, value);
            0
        }
        Step::Config { offset, value } => {
            // The driver stays the bus's master: what is refused without has a time of its own.
            bench.write_config(offset, 2, if offset == 0x04 { value | 4 } else { value });
            bench.read_config(offset, 2)
        }
        Step::Timer => bench.fire_timer().into(),
        Step::HoldMessages(hold) => {
            bench.hold_messages(hold);
            0
        }
        Step::Exchange => {
            if exchange {
                bench.exchange(Edu::default()).unwrap();
            }
            0
        }
        Step::Migrate => {
            if exchange {
                bench.migrate(Edu::default()).unwrap();
            }
            0
        }
    }
}

fn bench(by_message: bool) -> TestBench {
    let mut bench = TestBench::new(Edu::default()).unwrap().with_memory(0x2000).unwrap();
    bench.write_memory(0, &[0xa5; 0x2000]);
    if by_message { bench.by_message().unwrap() } else { bench }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn an_exchange_or_migration_at_any_point_is_invisible(
        by_message: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let (mut exchanged, mut control) = (bench(by_message), bench(by_message));
        for step in &steps {
            let seen = take(&mut exchanged, step, true);
            prop_assert_eq!(seen, take(&mut control, step, false), "{:?}", step);
            prop_assert_eq!(exchanged.interrupt_pin(), control.interrupt_pin(), "{:?}", step);
        }
        for bench in [&mut exchanged, &mut control] {
            bench.hold_messages(false);
        }
        prop_assert_eq!(exchanged.read_memory(0, 0x2000), control.read_memory(0, 0x2000));
        for register in REGISTERS {
            let seen = [&mut exchanged, &mut control].map(|bench| bench.read(0, register.offset, 4));
            prop_assert_eq!(seen[0], seen[1], "{}", register);
        }
    }
}
