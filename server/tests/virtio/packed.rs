//! The packed virtqueue: requests and answers in one ring.

use my_rng_server::devices::virtio_rng::VirtioRng;
use vfio_user_device::TestBench;
use virtio_device::{Features, Interface, Status};

use crate::driver::{
    BUFFERS, CONFIG, DRIVER_FEATURE, DRIVER_FEATURE_SELECT, Driver, INDIRECT, MEMORY, NEXT, PLACE,
    Place, QUEUE, QUEUE_ENABLE, SPLIT, UNTOUCHED, WRITE, byte_at,
};

const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Descriptors of the queue: a packed queue's need be no power of two.
const SIZE: u16 = 5;

/// A place in the ring, and whether the driver's bit is set in this lap.
pub type Slot = (u16, bool);

/// A driver with a packed queue; it makes one request at a time.
pub struct Packed {
    pub driver: Driver,
    /// Where the next request goes, and in which lap.
    next: u16,
    wrap: bool,
}

impl Packed {
    fn new(prepare: impl FnOnce(TestBench) -> TestBench) -> Packed {
        Packed::with(u64::MAX, prepare)
    }

    /// A driver of a device whose source has so many bytes.
    pub fn with(bytes: u64, prepare: impl FnOnce(TestBench) -> TestBench) -> Packed {
        let offering = |entropy| {
            let mut device = VirtioRng::new(entropy, Interface::Modern);
            device.offer_packed_queue();
            device
        };
        let prepare = |bench: TestBench| prepare(bench.with_msix().unwrap());
        let mut driver = Driver::of_device(bytes, None, offering, prepare);
        driver.place = Place { size: SIZE, ..PLACE };
        let mut packed = Packed { driver, next: 0, wrap: true };
        packed.start();
        packed
    }

    /// All of the initialisation, also after a reset.
    pub fn start(&mut self) {
        self.driver.start(Features::all());
        self.driver.bench.write_memory(PLACE.available as usize, &[0; 4]);
        (self.next, self.wrap) = (0, true);
    }

    pub fn ready() -> Packed {
        Packed::new(|bench| bench)
    }

    fn turn(&self, available: bool) -> u16 {
        match (available, self.wrap) {
            (true, true) => AVAILABLE,
            (true, false) => USED,
            (false, true) => AVAILABLE | USED,
            (false, false) => 0,
        }
    }

    fn slot(&self, position: u16) -> usize {
        (PLACE.descriptors + 16 * u64::from(position)) as usize
    }

    /// Writes one descriptor where the next one goes. Returns where that was.
    fn put(&mut self, address: u64, length: u32, flags: u16, id: u16) -> Slot {
        let place = (self.next, self.wrap);
        let flags = flags | self.turn(true);
        let at = PLACE.descriptors + 16 * u64::from(self.next);
        self.driver.describe_at(at, address, length, id, flags);
        self.next += 1;
        if self.next == SIZE {
            (self.next, self.wrap) = (0, !self.wrap);
        }
        place
    }

    /// Makes a chain of buffers available, whose last descriptor has the id, and notifies.
    /// Returns where its answer will be.
    pub fn request(&mut self, buffers: &[(u64, u32)], id: u16) -> Slot {
        let first = (self.next, self.wrap);
        for (position, (address, length)) in buffers.iter().enumerate() {
            let more = if position + 1 < buffers.len() { NEXT } else { 0 };
            self.put(*address, *length, WRITE | more, id);
        }
        self.driver.notify();
        first
    }

    /// The answer at a place: buffer id and bytes written.
    pub fn answer(&self, (position, wrap): Slot) -> Option<(u16, u32)> {
        let bytes = self.driver.bench.read_memory(self.slot(position), 16);
        let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let turn = if wrap { AVAILABLE | USED } else { 0 };
        let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        assert_eq!(number(14) & WRITE != 0, length > 0 || number(14) & turn != turn);
        (number(14) & (AVAILABLE | USED) == turn).then(|| (number(12), length))
    }

    /// Tells the device when the driver wants to be interrupted.
    fn suppress(&mut self, place: u16, flags: u16) {
        let bytes = [place.to_le_bytes(), flags.to_le_bytes()].concat();
        self.driver.bench.write_memory(PLACE.available as usize, &bytes);
    }
}

#[test]
fn it_is_offered_when_it_is_asked_for() {
    assert_eq!(Driver::idle().offered(), SPLIT.bits());
    assert_eq!(Packed::ready().driver.offered(), Features::all().bits());
    assert!(!Driver::idle().agree(Features::all().bits()));
}

#[test]
fn requests_are_answered_in_place_lap_after_lap() {
    let by_message = || Packed::new(|bench| bench.by_message().unwrap());
    for mut packed in [Packed::ready(), by_message()] {
        let mut drawn = 0;
        for round in 0..40_u16 {
            let buffers: Vec<_> = (0..u64::from(round % 5) + 1)
                .map(|number| (BUFFERS + 0x100 * number, 3 + number as u32))
                .collect();
            let total: u32 = buffers.iter().map(|(_, length)| length).sum();
            let place = packed.request(&buffers, round);
            assert_eq!(packed.answer(place), Some((round, total)), "round {round}");
            assert!(packed.driver.bench.take_interrupt(QUEUE));
            for (address, length) in buffers {
                let expected: Vec<u8> = (drawn..drawn + u64::from(length)).map(byte_at).collect();
                assert_eq!(packed.driver.memory(address, length as usize), expected);
                drawn += u64::from(length);
            }
        }
    }
}

#[test]
fn a_descriptor_that_says_it_is_used_is_no_request() {
    let mut packed = Packed::ready();
    packed.driver.describe_at(PLACE.descriptors, BUFFERS, 9, 0, WRITE | AVAILABLE | USED);
    packed.driver.notify();
    assert_eq!(packed.driver.memory(BUFFERS, 9), [UNTOUCHED; 9]);
    let place = packed.request(&[(BUFFERS, 9)], 3);
    assert_eq!(packed.answer(place), Some((3, 9)));
}

#[test]
fn several_requests_may_wait() {
    let mut packed = Packed::ready();
    let places: Vec<_> =
        (0..5_u16).map(|id| packed.put(BUFFERS + 16 * u64::from(id), 9, WRITE, 40 + id)).collect();
    packed.driver.notify();
    for (id, place) in (40..).zip(places) {
        assert_eq!(packed.answer(place), Some((id, 9)));
    }
}

#[test]
fn an_indirect_table_is_all_of_its_descriptors() {
    let mut packed = Packed::ready();
    let table = 0x5000;
    for round in 0..12 {
        // Ids and flags but WRITE mean nothing in the table.
        packed.driver.describe_at(table, BUFFERS, 4, 77, WRITE);
        packed.driver.describe_at(table + 16, BUFFERS + 0x100, 5, 78, WRITE);
        let place = packed.put(table, 32, INDIRECT, round);
        packed.driver.notify();
        assert_eq!(packed.answer(place), Some((round, 9)));
    }
}

#[test]
fn the_driver_chooses_when_it_is_interrupted() {
    let mut packed = Packed::ready();
    let interrupted = |packed: &mut Packed| {
        packed.request(&[(BUFFERS, 1)], 0);
        packed.driver.bench.take_interrupt(QUEUE)
    };
    packed.suppress(0, 1);
    assert!(!interrupted(&mut packed), "never");
    packed.suppress(0, 0);
    assert!(interrupted(&mut packed), "always");
    // At descriptor 4 of this lap, then at descriptor 1 of the next.
    packed.suppress(4 | 1 << 15, 2);
    let answers = [(); 3].map(|()| interrupted(&mut packed));
    assert_eq!(answers, [false, false, true]);
    packed.suppress(1, 2);
    let answers = [(); 3].map(|()| interrupted(&mut packed));
    assert_eq!(answers, [false, true, false]);
}

#[test]
fn drivers_that_break_the_rules() {
    let table = 0x5000;
    let breaks: [fn(&mut Packed) -> Slot; 6] = [
        // A chain that is longer than the queue.
        |packed| {
            for _ in 1..SIZE {
                packed.put(BUFFERS, 4, WRITE | NEXT, 0);
            }
            packed.put(BUFFERS, 4, WRITE | NEXT, 0)
        },
        |packed| packed.put(MEMORY, 4, WRITE, 0),
        |packed| packed.put(BUFFERS, 4, 0, 0),
        |packed| packed.put(0x5000, 17, INDIRECT, 0),
        |packed| packed.put(0x5000, 16 * (u32::from(SIZE) + 1), INDIRECT, 0),
        |packed| packed.put(0x5000, 16, INDIRECT | NEXT, 0),
    ];
    for break_rule in breaks {
        let mut packed = Packed::ready();
        packed.driver.describe_at(table, BUFFERS, 4, 0, WRITE);
        break_rule(&mut packed);
        packed.driver.notify();
        assert!(packed.driver.status().contains(Status::DEVICE_NEEDS_RESET));
        assert!(packed.driver.bench.take_interrupt(CONFIG));
        assert_eq!(packed.driver.memory(BUFFERS, 64), [UNTOUCHED; 64]);
        packed.driver.assert_works();
    }
    for (size, possible) in [(0, false), (1, true), (63, true), (65, false)] {
        let mut packed = Packed::ready();
        packed.driver.reset();
        assert!(packed.driver.agree(Features::all().bits()));
        packed.driver.place.size = size;
        packed.driver.place_queue();
        packed.driver.write(QUEUE_ENABLE, 2, 1);
        let broken = packed.driver.status().contains(Status::DEVICE_NEEDS_RESET);
        assert_eq!(broken, !possible, "{size}");
    }
}

#[test]
fn flags_but_write_mean_nothing_in_an_indirect_table() {
    let mut packed = Packed::ready();
    packed.driver.describe_at(0x5000, BUFFERS, 8, 0, WRITE | INDIRECT | NEXT);
    let place = packed.put(0x5000, 16, INDIRECT, 7);
    packed.driver.notify();
    assert_eq!(packed.answer(place), Some((7, 8)));
}

#[test]
fn a_queue_is_checked_for_the_layout_that_it_gets() {
    let mut driver = Packed::ready().driver;
    driver.reset();
    driver.add_status(Status::ACKNOWLEDGE | Status::DRIVER);
    let accept = |driver: &mut Driver, features: Features| {
        driver.write(DRIVER_FEATURE_SELECT, 4, 1);
        driver.write(DRIVER_FEATURE, 4, features.bits() >> 32);
    };
    accept(&mut driver, Features::VERSION_1 | Features::RING_PACKED);
    driver.place_queue();
    driver.write(QUEUE_ENABLE, 2, 1);
    assert_eq!(driver.read(QUEUE_ENABLE, 2), 1, "five descriptors are enough for a packed queue");
    accept(&mut driver, Features::VERSION_1);
    driver.add_status(Status::FEATURES_OK);
    driver.add_status(Status::DRIVER_OK);
    assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET), "{:?}", driver.status());
}
