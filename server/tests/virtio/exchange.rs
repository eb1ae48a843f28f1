//! A driver cannot tell whether its device was exchanged or migrated: registers, rings, bytes,
//! interrupts.

use entropy::service::Entropy;
use my_rng_server::devices::virtio_rng::VirtioRng;
use proptest::prelude::*;
use vfio_user_device::TestBench;
use virtio_device::Interface;

use crate::driver::{BUFFERS, Driver, QUEUE, QUEUE_USED, SPLIT, STATUS, UNTOUCHED};
use crate::packed::{Packed, Slot};

/// A device like the driver's, with the same source.
fn another(driver: &Driver, packed: bool) -> VirtioRng {
    let source = Box::new(driver.supply.clone());
    let entropy = Entropy::new(source, driver.waker.clone(), None);
    let mut device = VirtioRng::new(entropy, Interface::Modern);
    if packed {
        device.offer_packed_queue();
    }
    device
}

/// Puts another device in the place of the driver's.
fn exchange(driver: &mut Driver, packed: bool) {
    let device = another(driver, packed);
    driver.bench.exchange(device).unwrap();
}

/// Moves the driver to another device.
fn migrate(driver: &mut Driver, packed: bool) {
    let device = another(driver, packed);
    driver.bench.migrate(device).unwrap();
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Asks for so many bytes, if nothing is asked for.
    Ask(u32),
    /// The source gets so many more.
    Add(u64),
    /// Another device takes the place.
    Replace,
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u32..200).prop_map(Step::Ask),
        2 => (0_u64..300).prop_map(Step::Add),
        3 => Just(Step::Replace),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 1..80)
}

/// How another device takes the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Exchange,
    Migrate,
}

/// A driver whose source has nothing yet.
struct Guest {
    queue: Queue,
    /// Bytes that it has got.
    received: u64,
}

/// A driver with either queue, and the request that it waits for.
enum Queue {
    Split { driver: Box<Driver>, asked: bool },
    Packed { packed: Box<Packed>, asked: Option<Slot> },
}

impl Queue {
    fn new(packed: bool, by_message: bool) -> Self {
        let messages =
            |bench: TestBench| if by_message { bench.by_message().unwrap() } else { bench };
        if packed {
            let packed = Box::new(Packed::with(0, messages));
            return Queue::Packed { packed, asked: None };
        }
        let prepare = |bench: TestBench| messages(bench.with_msix().unwrap());
        let mut driver = Box::new(Driver::with(0, None, Interface::Modern, prepare));
        driver.start(SPLIT);
        Queue::Split { driver, asked: false }
    }

    fn driver(&mut self) -> &mut Driver {
        match self {
            Queue::Split { driver, .. } => driver,
            Queue::Packed { packed, .. } => &mut packed.driver,
        }
    }

    fn ask(&mut self, length: u32) {
        match self {
            Queue::Split { driver, asked } if !*asked => {
                driver.ask(length);
                *asked = true;
            }
            Queue::Packed { packed, asked: asked @ None } => {
                *asked = Some(packed.request(&[(BUFFERS, length)], 7));
            }
            _ => {}
        }
    }

    fn answer(&mut self) -> Option<(u32, u32)> {
        match self {
            Queue::Split { driver, asked } => {
                let answer = driver.answer();
                *asked &= answer.is_none();
                answer
            }
            Queue::Packed { packed, asked } => {
                let (id, length) = packed.answer((*asked)?)?;
                *asked = None;
                Some((id.into(), length))
            }
        }
    }

    fn reset(&mut self) {
        match self {
            Queue::Split { driver, asked } => {
                driver.start(SPLIT);
                *asked = false;
            }
            Queue::Packed { packed, asked } => {
                packed.start();
                *asked = None;
            }
        }
    }
}

impl Guest {
    fn new(packed: bool, by_message: bool) -> Self {
        Guest { queue: Queue::new(packed, by_message), received: 0 }
    }

    fn replace(&mut self, way: Way) {
        let packed = matches!(self.queue, Queue::Packed { .. });
        let driver = self.queue.driver();
        match way {
            Way::Exchange => exchange(driver, packed),
            Way::Migrate => {
                // What was read for this guest and not given to it stays behind: the other device
                // reads it anew, and may give it in other pieces.
                let (drawn, _) = driver.supply.drawn();
                if drawn == self.received {
                    migrate(driver, packed);
                }
            }
        }
    }

    /// What its driver sees after a step.
    fn take(&mut self, step: Step, way: Option<Way>) -> (Option<(u32, u32)>, [u64; 2], Vec<u8>) {
        match (step, way) {
            (Step::Ask(length), _) => self.queue.ask(length),
            (Step::Add(bytes), _) => {
                let driver = self.queue.driver();
                driver.supply.add(bytes);
                driver.waker.wake();
                driver.bench.wait_for_waker(std::time::Duration::ZERO);
            }
            (Step::Replace, Some(way)) => self.replace(way),
            (Step::Replace, None) => {}
            (Step::Reset, _) => self.queue.reset(),
        }
        let answer = self.queue.answer();
        self.received += answer.map_or(0, |(_, length)| u64::from(length));
        let driver = self.queue.driver();
        let registers = [driver.read(STATUS, 1), driver.read(QUEUE_USED, 4)];
        (answer, registers, driver.memory(BUFFERS, 200))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn another_device_at_any_point_is_invisible(
        packed: bool,
        by_message: bool,
        way in prop::sample::select(vec![Way::Exchange, Way::Migrate]),
        steps in steps(),
    ) {
        let mut guests = [(); 2].map(|()| Guest::new(packed, by_message));
        for step in steps {
            let [replaced, control] = &mut guests;
            let mut seen = replaced.take(step, Some(way));
            let mut expected = control.take(step, None);
            if way == Way::Migrate {
                // The bytes are others, because the source is. As many of them have come.
                for (_, _, bytes) in [&mut seen, &mut expected] {
                    bytes.iter_mut().for_each(|byte| *byte = u8::from(*byte != UNTOUCHED));
                }
            }
            prop_assert_eq!(seen, expected, "{:?}", step);
            // One interrupt too many does no harm.
            let [interrupted, wanted] =
                [replaced, control].map(|guest| guest.queue.driver().bench.take_interrupt(QUEUE));
            prop_assert!(interrupted || !wanted, "{:?}", step);
        }
    }
}

#[test]
fn a_packed_queue_goes_on_where_it_was_lap_after_lap() {
    let mut packed = Packed::ready();
    for round in 0..40_u16 {
        let place = packed.request(&[(BUFFERS, 3), (BUFFERS + 0x100, 4)], round);
        assert_eq!(packed.answer(place), Some((round, 7)), "round {round}");
        if round % 3 != 1 {
            exchange(&mut packed.driver, true);
        }
    }
}

#[test]
fn a_device_with_other_features_does_not_take_the_place() {
    let mut driver = Driver::ready();
    let source = Box::new(driver.supply.clone());
    let entropy = Entropy::new(source, driver.waker.clone(), None);
    let mut device = VirtioRng::new(entropy, Interface::Modern);
    device.offer_packed_queue();
    let error = driver.bench.exchange(device).unwrap_err().to_string();
    assert!(error.contains("virtio features"), "{error}");
    driver.ask(10);
    assert_eq!(driver.answer(), Some((0, 10)), "the old one goes on");
}
