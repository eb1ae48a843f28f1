//! A queue that is served on a bench, by mapped memory and by messages.

use vfio_user_device::{Access, DeviceConfig, TestBench};

use super::*;
use crate::flags::{Features, Status};
use crate::layout::{DeviceType, Interface, NOTIFY};
use crate::registers::common;

const BAR: u32 = 4;
// Where the driver has put what. Table and available ring lie side by side, as Linux has them.
const SIZE: usize = 8;
const TABLE: usize = 0x1000;
const AVAILABLE: usize = TABLE + 16 * SIZE;
const USED: usize = 0x2000;
const BUFFER: usize = 0x3000;
const LENGTH: usize = 64;

/// A device that fills chains with one byte when it is let to.
struct Filler {
    transport: Transport,
    has_bytes: bool,
}

impl Device for Filler {
    fn config(&self) -> DeviceConfig {
        self.transport.config()
    }

    fn read(&mut self, bus: &mut Bus, access: Access) -> u64 {
        self.transport.read(bus, access)
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        self.transport.write(bus, access, value);
        if self.transport.is_pending() {
            bus.set_timer(0, std::time::Duration::from_secs(1000));
        }
    }

    fn on_timer(&mut self, bus: &mut Bus, _id: u32) {
        self.has_bytes = true;
        bus.wake_tasks();
    }

    fn reset(&mut self, bus: &mut Bus) {
        self.transport.reset(bus);
    }

    fn on_disconnect(&mut self, bus: &mut Bus) {
        self.transport.on_disconnect(bus);
    }
}

impl VirtioDevice for Filler {
    fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn fill(&mut self, _bus: &mut Bus, chain: &DescriptorChain) -> Result<Option<Vec<u8>>, Fault> {
        let length = usize::try_from(chain.writable_len()).unwrap();
        Ok(self.has_bytes.then(|| vec![7; length]))
    }
}

/// A driver of the device.
struct Driver {
    bench: TestBench,
    available: u16,
}

impl Driver {
    /// Enables the queue with those features.
    fn new(by_message: bool, has_bytes: bool, features: Features) -> Self {
        let transport =
            Transport::new(DeviceType::Entropy, Interface::Modern, serve_queue::<Filler>);
        let bench = TestBench::new(Filler { transport, has_bytes }).unwrap();
        let bench = bench.with_memory(0x4000).unwrap().with_msix().unwrap();
        let bench = if by_message { bench.by_message().unwrap() } else { bench };
        let mut driver = Driver { bench, available: 0 };
        let features = features | Features::VERSION_1;
        for half in [0, 1] {
            driver.register(common::DRIVER_FEATURE_SELECT, 4, half);
            driver.register(
                common::DRIVER_FEATURE,
                4,
                features.bits() >> (32 * half) & 0xffff_ffff,
            );
        }
        let status = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK;
        driver.register(common::STATUS, 1, status.bits().into());
        driver.register(common::QUEUE_SIZE, 2, SIZE as u64);
        driver.register(common::QUEUE_VECTOR, 2, 1);
        driver.register(common::QUEUE_DESCRIPTORS, 4, TABLE as u64);
        driver.register(common::QUEUE_DRIVER, 4, AVAILABLE as u64);
        driver.register(common::QUEUE_DEVICE, 4, USED as u64);
        driver.register(common::QUEUE_ENABLE, 2, 1);
        driver.register(common::STATUS, 1, (status | Status::DRIVER_OK).bits().into());
        driver
    }

    fn register(&mut self, offset: u64, size: usize, value: u64) {
        self.bench.write(BAR, offset, size, value);
    }

    fn put(&mut self, address: usize, bytes: &[u8]) {
        assert!(self.bench.write_memory(address, bytes));
    }

    /// Makes a chain of one buffer available.
    fn offer(&mut self) {
        let slot = usize::from(self.available) % SIZE;
        let descriptor = TABLE + 16 * slot;
        self.put(descriptor, &(BUFFER as u64).to_le_bytes());
        self.put(descriptor + 8, &u32::try_from(LENGTH).unwrap().to_le_bytes());
        self.put(descriptor + 12, &2_u32.to_le_bytes());
        self.put(AVAILABLE + 4 + 2 * slot, &u16::try_from(slot).unwrap().to_le_bytes());
        self.available += 1;
        self.put(AVAILABLE + 2, &self.available.to_le_bytes());
    }

    fn notify(&mut self) {
        self.register(NOTIFY.start, 2, 0);
    }

    /// How many chains are completed.
    fn completed(&self) -> u16 {
        let index = self.bench.read_memory(USED + 2, 2);
        u16::from_le_bytes([index[0], index[1]])
    }
}

#[test]
fn a_chain_by_message_takes_two_waits() {
    for features in [Features::empty(), Features::EVENT_IDX] {
        let mut driver = Driver::new(true, true, features);
        driver.bench.hold_messages(true);
        driver.offer();
        driver.notify();
        // Ring and descriptors; the bytes, what goes into the used ring, and a look at the available ring.
        for (wait, messages) in [2, 4].into_iter().enumerate() {
            assert_eq!(driver.bench.messages_waiting(), messages, "{features:?}: {wait}");
            assert!(!driver.bench.take_interrupt(1));
            driver.bench.answer_messages();
        }
        assert_eq!(driver.completed(), 1);
        assert!(driver.bench.take_interrupt(1));
        assert_eq!(driver.bench.messages_waiting(), 0);
        assert_eq!(driver.bench.read_memory(BUFFER, LENGTH), [7; LENGTH]);
        driver.bench.hold_messages(false);
        assert!(!driver.bench.take_interrupt(1));
    }
}

#[test]
fn mapped_memory_takes_no_messages() {
    let mut driver = Driver::new(false, true, Features::EVENT_IDX);
    for count in 1..=20 {
        driver.offer();
        driver.notify();
        assert_eq!(driver.completed(), count);
    }
    assert_eq!(driver.bench.messages_sent(), 0);
}

#[test]
fn a_notification_during_the_look_is_not_lost() {
    let mut driver = Driver::new(true, true, Features::empty());
    driver.bench.hold_messages(true);
    driver.notify();
    // The client has read the ring's start when the driver writes it.
    driver.bench.answer_message();
    driver.offer();
    driver.notify();
    driver.bench.hold_messages(false);
    assert_eq!(driver.completed(), 1);
}

#[test]
fn a_pending_chain_is_completed_when_there_are_bytes() {
    let mut driver = Driver::new(false, false, Features::empty());
    driver.offer();
    driver.notify();
    driver.notify();
    assert_eq!(driver.completed(), 0);
    assert!(driver.bench.fire_timer());
    assert_eq!(driver.completed(), 1);
}

#[test]
fn a_reset_drops_a_chain_and_its_messages() {
    let mut driver = Driver::new(true, true, Features::empty());
    driver.bench.hold_messages(true);
    driver.offer();
    driver.notify();
    driver.bench.answer_messages();
    assert_eq!(driver.bench.messages_waiting(), 4, "the bytes are on their way");
    driver.register(common::STATUS, 1, 0);
    let status = driver.bench.read(BAR, common::STATUS, 1);
    assert_ne!(status, 0, "they may still arrive");
    driver.bench.hold_messages(false);
    assert_eq!(driver.bench.read(BAR, common::STATUS, 1), 0);
    assert!(!driver.bench.take_interrupt(1));
}
