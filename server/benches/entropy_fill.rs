//! What the way through a virtio device costs, next to the generator that makes the bytes.
//!
//! A driver gives the device 1 MiB in chains as Linux makes them, and the same generator fills 1 MiB
//! with nothing in between. Both are measured in one run, in alternating rounds, because figures of
//! different runs cannot be compared. `./scripts/bench.sh fill` runs it; `--check RATIO` makes it
//! fail when the device has less than that of a generator's speed.

#![expect(
    clippy::cast_possible_truncation,
    reason = "every number of the queue is a small constant"
)]

mod check;

use std::cmp::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use entropy::service::{Entropy, MAX_BYTES};
use entropy::source::Specification;
use my_rng_model::generator::ChaCha20;
use my_rng_server::devices::virtio_rng::VirtioRng;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};
use vfio_user_device::{TestBench, Waker};
use virtio_device::{Features, Interface, Status};

/// Bytes of a round.
const ROUND: usize = 1 << 20;
/// Rounds of each contender.
const ROUNDS: usize = 100;
/// Rounds before the first one that counts.
const WARM_UP: usize = 10;
/// The seed of the generators that need one.
const SEED: u32 = 42;

fn main() -> Result<()> {
    let what = "the device's speed in terms of a generator's";
    check::checked(check::limit()?, Ordering::Less, what, measure)
}

/// Measures and reports all generators; returns the smallest ratio of the device's speed to theirs.
fn measure() -> Result<f64> {
    println!("1 MiB in chains of 16 buffers, {ROUNDS} alternating rounds, medians");
    println!("{:<12} {:>12} {:>12}  ratio", "", "alone MiB/s", "device MiB/s");
    let system = compare("getrandom", Specification::Getrandom, |piece| {
        let length = piece.len();
        getrandom(piece, GetRandomFlags::empty()).is_ok_and(|filled| filled == length)
    })?;
    let mut generator = ChaCha20::from_seed(SEED);
    let chacha20 = compare("chacha20", Specification::Chacha20 { seed: SEED }, |piece| {
        generator.fill(piece);
        true
    })?;
    Ok(system.min(chacha20))
}

/// Measures a generator alone and behind the device. `fill` returns whether it filled the piece.
fn compare(
    name: &str,
    source: Specification,
    mut fill: impl FnMut(&mut [u8]) -> bool,
) -> Result<f64> {
    let mut driver = Driver::of(source)?;
    let mut buffer = vec![0; ROUND];
    let (mut alone, mut device) = (Vec::new(), Vec::new());
    for _ in 0..WARM_UP + ROUNDS {
        let start = processor_time();
        let filled = buffer.chunks_mut(MAX_BYTES).all(&mut fill);
        alone.push(processor_time().saturating_sub(start));
        ensure!(filled, "{name} does not fill a buffer");
        let start = processor_time();
        driver.notify();
        device.push(processor_time().saturating_sub(start));
        driver.check_answers()?;
    }
    let (alone, device) = (median(alone), median(device));
    let speed = |time: Duration| ROUND as f64 / f64::from(1 << 20) / time.as_secs_f64();
    let ratio = speed(device) / speed(alone);
    println!("{name:<12} {:>12.0} {:>12.0}  {ratio:.2}", speed(alone), speed(device));
    Ok(ratio)
}

/// What this thread has had of a processor: nothing here waits, so that others do not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.drain(..WARM_UP);
    times.sort_unstable();
    times[times.len() / 2]
}

// Where the device's structures are, in which BAR.
const BAR: u32 = 4;
const NOTIFY: u64 = 0x3000;

// Registers of the common configuration, section 4.1.4.3 of the specification.
const DRIVER_FEATURE_SELECT: u64 = 0x08;
const DRIVER_FEATURE: u64 = 0x0c;
const STATUS: u64 = 0x14;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_ENABLE: u64 = 0x1c;
const QUEUE_ADDRESSES: [(u64, usize); 3] = [(0x20, DESCRIPTORS), (0x28, AVAILABLE), (0x30, USED)];

// Flags of a descriptor, section 2.7.5.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Chains of a round: the device gives each of them so much at most.
const CHAINS: usize = ROUND / MAX_BYTES;
/// A buffer is a page of the guest.
const BUFFER: usize = 4096;
/// Buffers of a chain.
const BUFFERS: usize = MAX_BYTES / BUFFER;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;

// Where the driver has put what.
const DESCRIPTORS: usize = 0x1000;
const AVAILABLE: usize = 0x2000;
const USED: usize = 0x3000;
const TABLES: usize = 0x4000;
const DATA: usize = 0x10_0000;
/// Bytes of guest memory.
const MEMORY: usize = DATA + ROUND;

/// A driver that asks for 1 MiB at a time: a queue of indirect chains, always the same ones.
struct Driver {
    bench: TestBench,
    /// Requests so far, modulo 2^16 as the rings count them.
    requested: u16,
}

impl Driver {
    fn of(source: Specification) -> Result<Self> {
        let waker = Waker::new()?;
        let entropy = Entropy::new(source.open(waker.clone())?, waker, None);
        let bench = TestBench::new(VirtioRng::new(entropy, Interface::Modern))?;
        let bench = bench.with_memory(MEMORY as u64)?.with_msix()?;
        let mut driver = Driver { bench, requested: 0 };
        driver.describe_chains();
        driver.start()?;
        Ok(driver)
    }

    /// Agrees with the device on its features, and enables the queue.
    fn start(&mut self) -> Result<()> {
        let features = Features::VERSION_1 | Features::INDIRECT_DESC | Features::EVENT_IDX;
        let mut status = Status::ACKNOWLEDGE | Status::DRIVER;
        self.write(STATUS, 1, status.bits().into());
        for half in [0, 1] {
            self.write(DRIVER_FEATURE_SELECT, 4, half);
            self.write(DRIVER_FEATURE, 4, features.bits() >> (32 * half) & 0xffff_ffff);
        }
        status |= Status::FEATURES_OK;
        self.write(STATUS, 1, status.bits().into());
        self.write(QUEUE_SIZE, 2, CHAINS as u64);
        for (register, address) in QUEUE_ADDRESSES {
            self.write(register, 4, address as u64);
        }
        self.write(QUEUE_ENABLE, 2, 1);
        status |= Status::DRIVER_OK;
        self.write(STATUS, 1, status.bits().into());
        let now = self.bench.read(BAR, STATUS, 1);
        ensure!(now == u64::from(status.bits()), "the device's status is {now:#x}");
        Ok(())
    }

    /// Writes every chain's descriptor and table, and its entry in the available ring.
    fn describe_chains(&mut self) {
        for chain in 0..CHAINS {
            let table = TABLES + chain * BUFFERS * DESCRIPTOR;
            self.describe(
                DESCRIPTORS + chain * DESCRIPTOR,
                table,
                BUFFERS * DESCRIPTOR,
                INDIRECT,
                0,
            );
            for buffer in 0..BUFFERS {
                let address = DATA + chain * MAX_BYTES + buffer * BUFFER;
                let flags = if buffer + 1 < BUFFERS { WRITE | NEXT } else { WRITE };
                self.describe(table + buffer * DESCRIPTOR, address, BUFFER, flags, buffer + 1);
            }
            self.put(AVAILABLE + 4 + 2 * chain, &(chain as u16).to_le_bytes());
        }
    }

    fn describe(&mut self, place: usize, address: usize, length: usize, flags: u16, next: usize) {
        self.put(place, &(address as u64).to_le_bytes());
        self.put(place + 8, &(length as u32).to_le_bytes());
        self.put(place + 12, &flags.to_le_bytes());
        self.put(place + 14, &(next as u16).to_le_bytes());
    }

    /// Makes all chains available and tells the device, which answers them before this returns.
    fn notify(&mut self) {
        self.requested = self.requested.wrapping_add(CHAINS as u16);
        self.put(AVAILABLE + 2, &self.requested.to_le_bytes());
        self.write(NOTIFY, 2, 0);
    }

    /// Checks that every chain has been filled.
    fn check_answers(&self) -> Result<()> {
        let index = self.bench.read_memory(USED + 2, 2);
        ensure!(index == self.requested.to_le_bytes(), "not every chain was answered");
        for chain in 0..CHAINS {
            let length = self.bench.read_memory(USED + 4 + 8 * chain + 4, 4);
            ensure!(length == (MAX_BYTES as u32).to_le_bytes(), "chain {chain} was not filled");
        }
        Ok(())
    }

    fn put(&mut self, address: usize, bytes: &[u8]) {
        assert!(self.bench.write_memory(address, bytes), "no memory at {address:#x}");
    }

    fn write(&mut self, register: u64, size: usize, value: u64) {
        self.bench.write(BAR, register, size, value);
    }
}
