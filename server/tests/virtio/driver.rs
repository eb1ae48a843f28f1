//! A driver for the tests: it knows the specification, and can break each of its rules.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use entropy::limiter::Limit;
use entropy::service::Entropy;
use entropy::source::{ReadOutcome, Source};
use my_rng_server::devices::virtio_rng::VirtioRng;
use vfio_user_device::{TestBench, Waker};
use virtio_device::{Features, Interface, Status};

/// Guest memory in bytes.
pub const MEMORY: u64 = 256 << 10;
/// BAR of the modern interface, and where its structures are.
pub const BAR: u32 = 4;
pub const ISR: u64 = 0x1000;
pub const NOTIFY: u64 = 0x3000;

// Offsets of the common configuration, section 4.1.4.3.
pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
pub const DEVICE_FEATURE: u64 = 0x04;
pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
pub const DRIVER_FEATURE: u64 = 0x0c;
pub const CONFIG_VECTOR: u64 = 0x10;
pub const QUEUE_COUNT: u64 = 0x12;
pub const STATUS: u64 = 0x14;
pub const QUEUE_SELECT: u64 = 0x16;
pub const QUEUE_SIZE: u64 = 0x18;
pub const QUEUE_VECTOR: u64 = 0x1a;
pub const QUEUE_ENABLE: u64 = 0x1c;
pub const QUEUE_DESCRIPTORS: u64 = 0x20;
pub const QUEUE_AVAILABLE: u64 = 0x28;
pub const QUEUE_USED: u64 = 0x30;

// Flags of a descriptor, section 2.7.5.
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// Vectors as this driver assigns them.
pub const CONFIG: usize = 0;
pub const QUEUE: usize = 1;

/// Where a driver has put its queue.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub size: u16,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
}

/// A place in the first pages of memory.
pub const PLACE: Place = Place { size: 16, descriptors: 0x1000, available: 0x2000, used: 0x3000 };
/// Where buffers may be, and nothing else is.
pub const BUFFERS: u64 = 0x10000;
/// Everything that the device offers if it is not asked for more.
pub const SPLIT: Features = Features::all().difference(Features::RING_PACKED);
/// What memory is filled with, to see what was touched.
pub const UNTOUCHED: u8 = 0xa5;

/// Bytes 1, 2, 3 ... 255, 1, 2 and so on, never the one that memory is filled with, nor 0; no more
/// than it is given.
#[derive(Clone, Default)]
pub struct Supply(Arc<Mutex<Counting>>);

#[derive(Default)]
struct Counting {
    drawn: u64,
    left: u64,
    most: u64,
}

impl Supply {
    /// Gives the source so many bytes more.
    pub fn add(&self, bytes: u64) {
        let mut counting = self.0.lock().unwrap();
        counting.left = counting.left.saturating_add(bytes);
    }

    /// Leaves the source so many bytes, whatever it had.
    pub fn leave(&self, bytes: u64) {
        self.0.lock().unwrap().left = bytes;
    }

    /// How many bytes were drawn, and the most at once.
    pub fn drawn(&self) -> (u64, u64) {
        let counting = self.0.lock().unwrap();
        (counting.drawn, counting.most)
    }
}

impl Source for Supply {
    fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        let mut counting = self.0.lock().unwrap();
        let count = counting.left.min(buffer.len() as u64);
        counting.most = counting.most.max(buffer.len() as u64);
        if count == 0 {
            return ReadOutcome::Pending;
        }
        for piece in buffer[..count as usize].chunks_mut(PIECE_LEN) {
            let start = (counting.drawn % PERIOD) as usize;
            piece.copy_from_slice(&STREAM[start..start + piece.len()]);
            counting.drawn += piece.len() as u64;
        }
        counting.left -= count;
        ReadOutcome::Bytes(count as usize)
    }
}

/// The stream repeats itself after so many bytes.
const PERIOD: u64 = 253;
/// Bytes of it that are copied at once.
const PIECE_LEN: usize = 4096;
/// Enough of it to copy so many from each place: a fuzz target wants millions.
static STREAM: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PERIOD + PIECE_LEN as u64).map(byte_at).collect());

/// Byte number `position` of the source.
pub fn byte_at(position: u64) -> u8 {
    let byte = (position % PERIOD) as u8 + 1;
    if byte == UNTOUCHED { 0xff } else { byte }
}

/// A driver and the bench with its device.
pub struct Driver {
    pub bench: TestBench,
    pub supply: Supply,
    pub waker: Waker,
    pub place: Place,
    /// Requests made so far, modulo 2^16.
    pub made: u16,
    /// Answers seen so far.
    seen: u16,
}

impl Driver {
    /// A driver that has not touched the device yet. The source never lacks bytes.
    pub fn idle() -> Driver {
        Driver::of(Interface::Modern, |bench| bench)
    }

    /// The same with another interface, on a bench with more to it.
    pub fn of(interface: Interface, prepare: impl FnOnce(TestBench) -> TestBench) -> Driver {
        Driver::with(u64::MAX, None, interface, prepare)
    }

    /// With a source that has so many bytes, and a limit.
    pub fn with(
        bytes: u64,
        limit: Option<Limit>,
        interface: Interface,
        prepare: impl FnOnce(TestBench) -> TestBench,
    ) -> Driver {
        Driver::of_device(bytes, limit, |entropy| VirtioRng::new(entropy, interface), prepare)
    }

    /// With a device of the test's own making.
    pub fn of_device(
        bytes: u64,
        limit: Option<Limit>,
        make: impl FnOnce(Entropy) -> VirtioRng,
        prepare: impl FnOnce(TestBench) -> TestBench,
    ) -> Driver {
        Driver::with_memory(bytes, limit, make, |bench| {
            let mut bench = prepare(bench.with_memory(MEMORY).unwrap());
            bench.write_memory(0, &vec![UNTOUCHED; MEMORY as usize]);
            bench
        })
    }

    /// On a bench that the test gives its memory.
    pub fn with_memory(
        bytes: u64,
        limit: Option<Limit>,
        make: impl FnOnce(Entropy) -> VirtioRng,
        prepare: impl FnOnce(TestBench) -> TestBench,
    ) -> Driver {
        let (supply, waker) = (Supply::default(), Waker::new().unwrap());
        supply.add(bytes);
        let entropy = Entropy::new(Box::new(supply.clone()), waker.clone(), limit);
        let bench = prepare(TestBench::new(make(entropy)).unwrap());
        Driver { bench, supply, waker, place: PLACE, made: 0, seen: 0 }
    }

    /// A driver that is ready, with MSI-X and every feature.
    pub fn ready() -> Driver {
        let mut driver = Driver::of(Interface::Modern, |bench| bench.with_msix().unwrap());
        driver.start(SPLIT);
        driver
    }

    /// The same whose memory the device reaches by messages.
    pub fn ready_by_message() -> Driver {
        let prepare = |bench: TestBench| bench.with_msix().unwrap().by_message().unwrap();
        let mut driver = Driver::of(Interface::Modern, prepare);
        driver.start(SPLIT);
        driver
    }

    pub fn read(&mut self, register: u64, size: usize) -> u64 {
        self.bench.read(BAR, register, size)
    }

    pub fn write(&mut self, register: u64, size: usize, value: u64) {
        self.bench.write(BAR, register, size, value);
    }

    pub fn status(&mut self) -> Status {
        Status::from_bits_retain(self.read(STATUS, 1) as u8)
    }

    /// Adds bits to the status.
    pub fn add_status(&mut self, bits: Status) {
        let status = self.status() | bits;
        self.write(STATUS, 1, status.bits().into());
    }

    pub fn reset(&mut self) {
        self.write(STATUS, 1, 0);
        (self.made, self.seen) = (0, 0);
    }

    /// The features that the device offers.
    pub fn offered(&mut self) -> u64 {
        let mut half = |which| {
            self.write(DEVICE_FEATURE_SELECT, 4, which);
            self.read(DEVICE_FEATURE, 4)
        };
        half(0) | half(1) << 32
    }

    /// Accepts features; returns whether the device agrees.
    pub fn agree(&mut self, features: u64) -> bool {
        self.add_status(Status::ACKNOWLEDGE);
        self.add_status(Status::DRIVER);
        for which in 0..2 {
            self.write(DRIVER_FEATURE_SELECT, 4, which);
            self.write(DRIVER_FEATURE, 4, features >> (32 * which) & 0xffff_ffff);
        }
        self.add_status(Status::FEATURES_OK);
        self.status().contains(Status::FEATURES_OK)
    }

    /// Empties the rings and tells the device where they are.
    pub fn place_queue(&mut self) {
        let Place { size, descriptors, available, used } = self.place;
        for (address, length) in [
            (descriptors, 16 * u64::from(size)),
            (available, 6 + 2 * u64::from(size)),
            (used, 6 + 8 * u64::from(size)),
        ] {
            self.bench.write_memory(address as usize, &vec![0; length as usize]);
        }
        self.write(CONFIG_VECTOR, 2, CONFIG as u64);
        self.write(QUEUE_SELECT, 2, 0);
        self.write(QUEUE_VECTOR, 2, QUEUE as u64);
        self.write(QUEUE_SIZE, 2, size.into());
        for (register, address) in
            [(QUEUE_DESCRIPTORS, descriptors), (QUEUE_AVAILABLE, available), (QUEUE_USED, used)]
        {
            self.write(register, 4, address & 0xffff_ffff);
            self.write(register + 4, 4, address >> 32);
        }
    }

    /// All of the initialisation, section 3.1.1.
    pub fn start(&mut self, features: Features) {
        self.reset();
        assert!(self.agree(features.bits()));
        self.place_queue();
        self.write(QUEUE_ENABLE, 2, 1);
        self.add_status(Status::DRIVER_OK);
    }

    /// Writes a descriptor of the queue's table.
    pub fn describe(&mut self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        let place = self.place.descriptors.saturating_add(16 * u64::from(index));
        self.describe_at(place, address, length, flags, next);
    }

    /// Writes a descriptor anywhere.
    pub fn describe_at(&mut self, place: u64, address: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.bench.write_memory(place as usize, &bytes);
    }

    /// Makes the chain that starts at `head` available, without a word to the device.
    pub fn offer(&mut self, head: u16) {
        let entry = 4 + 2 * u64::from(self.made % self.place.size);
        let entry = self.place.available.saturating_add(entry);
        self.bench.write_memory(entry as usize, &head.to_le_bytes());
        self.made = self.made.wrapping_add(1);
        self.set_available_index(self.made);
    }

    pub fn set_available_index(&mut self, index: u16) {
        let place = self.place.available.saturating_add(2);
        self.bench.write_memory(place as usize, &index.to_le_bytes());
    }

    pub fn notify(&mut self) {
        self.write(NOTIFY, 2, 0);
    }

    /// Makes a chain available and notifies.
    pub fn request(&mut self, head: u16) {
        self.offer(head);
        self.notify();
    }

    /// Asks for `length` bytes at [`BUFFERS`] with descriptor 0.
    pub fn ask(&mut self, length: u32) {
        self.describe(0, BUFFERS, length, WRITE, 0);
        self.request(0);
    }

    /// The next answer: the chain's head and how many bytes were written.
    pub fn answer(&mut self) -> Option<(u32, u32)> {
        let index = self.bench.read_memory((self.place.used + 2) as usize, 2);
        if u16::from_le_bytes([index[0], index[1]]) == self.seen {
            return None;
        }
        let entry = self.place.used + 4 + 8 * u64::from(self.seen % self.place.size);
        self.seen = self.seen.wrapping_add(1);
        let bytes = self.bench.read_memory(entry as usize, 8);
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        Some((number(0), number(4)))
    }

    pub fn memory(&self, address: u64, length: usize) -> Vec<u8> {
        self.bench.read_memory(address as usize, length)
    }

    /// Lets the waker that the device waits for be used.
    pub fn wake(&mut self) -> bool {
        self.waker.wake();
        self.bench.wait_for_waker(Duration::from_secs(10))
    }

    /// Checks that the device works, after a reset.
    pub fn assert_works(&mut self) {
        self.bench.take_interrupt(QUEUE);
        self.assert_works_without_interrupts();
        assert!(self.bench.take_interrupt(QUEUE));
    }

    pub fn assert_works_without_interrupts(&mut self) {
        self.place = PLACE;
        self.start(SPLIT);
        self.bench.write_memory(BUFFERS as usize, &[UNTOUCHED; 100]);
        self.ask(100);
        assert_eq!(self.answer(), Some((0, 100)), "status {:?}", self.status());
        assert!(!self.memory(BUFFERS, 100).contains(&UNTOUCHED));
    }
}
