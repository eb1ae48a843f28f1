//! A driver on a processor of its own. Each side sees what the other has written in its order, and
//! neither waits for a notification or an interrupt that the other one does not send.
//!
//! The order is made by the fences of the device kit around its copies of guest memory; there are no
//! atomic variables of the project's in it that a model checker could be shown.

use std::fs::File;
use std::hint::spin_loop;
use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use my_rng_server::devices::virtio_rng::VirtioRng;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use virtio_device::{Features, Interface};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

use crate::driver::{
    BAR, BUFFERS, Driver, MEMORY, NOTIFY, PLACE, QUEUE, SPLIT, UNTOUCHED, WRITE, byte_at,
};

const REQUESTS: u32 = 20_000;
/// Bytes of a request, and from one buffer to the next.
const LENGTH: u32 = 24;
/// Most requests at a time.
const DEPTH: u32 = 4;
/// After this time what one side waits for is lost, on a busy machine too.
const LOST: Duration = Duration::from_secs(60);

/// Guest memory as the driver's processor has it.
struct Memory(GuestMemoryMmap);

impl Memory {
    fn get(&self, address: u64) -> u16 {
        self.0.load(GuestAddress(address), Ordering::Acquire).unwrap()
    }

    /// Everything that was written before is seen before.
    fn set(&self, address: u64, value: u16) {
        self.0.store(value, GuestAddress(address), Ordering::Release).unwrap();
    }

    /// A descriptor but for its last two numbers, which differ in the two kinds of ring.
    fn describe(&self, place: u64, buffer: u16) {
        let address = buffer_address(buffer);
        self.0.write_obj(address, GuestAddress(place)).unwrap();
        self.0.write_obj(LENGTH, GuestAddress(place + 8)).unwrap();
    }
}

fn buffer_address(buffer: u16) -> u64 {
    BUFFERS + u64::from(buffer) * u64::from(LENGTH)
}

/// The driver's side of one of the two kinds of ring.
trait Ring: Send {
    /// Makes a buffer available. Returns whether the device wants to be notified.
    fn offer(&mut self, memory: &Memory, buffer: u16) -> bool;
    /// The next buffer that has come back.
    fn take(&mut self, memory: &Memory) -> Option<u16>;
    /// Asks for an interrupt when the next one does.
    fn ask(&mut self, memory: &Memory);
}

#[derive(Default)]
struct Split {
    made: u16,
    seen: u16,
}

impl Ring for Split {
    fn offer(&mut self, memory: &Memory, buffer: u16) -> bool {
        let place = PLACE.descriptors + 16 * u64::from(buffer);
        memory.describe(place, buffer);
        memory.set(place + 12, WRITE);
        memory.set(PLACE.available + 4 + 2 * u64::from(self.made % PLACE.size), buffer);
        self.made = self.made.wrapping_add(1);
        memory.set(PLACE.available + 2, self.made);
        fence(Ordering::SeqCst);
        memory.get(PLACE.used + 4 + 8 * u64::from(PLACE.size)) == self.made.wrapping_sub(1)
    }

    fn take(&mut self, memory: &Memory) -> Option<u16> {
        if memory.get(PLACE.used + 2) == self.seen {
            return None;
        }
        let entry = PLACE.used + 4 + 8 * u64::from(self.seen % PLACE.size);
        self.seen = self.seen.wrapping_add(1);
        Some(memory.get(entry))
    }

    fn ask(&mut self, memory: &Memory) {
        memory.set(PLACE.available + 4 + 2 * u64::from(PLACE.size), self.seen);
        fence(Ordering::SeqCst);
    }
}

/// A place in the packed ring, and whether the bits are set in this lap.
#[derive(Clone, Copy)]
struct Place {
    index: u16,
    wrap: bool,
}

impl Place {
    fn descriptor(self) -> u64 {
        PLACE.descriptors + 16 * u64::from(self.index)
    }

    fn advance(&mut self) {
        self.index = (self.index + 1) % PLACE.size;
        self.wrap ^= self.index == 0;
    }
}

const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;

struct Packed {
    next: Place,
    seen: Place,
}

impl Ring for Packed {
    fn offer(&mut self, memory: &Memory, buffer: u16) -> bool {
        let place = self.next.descriptor();
        memory.describe(place, buffer);
        memory.set(place + 12, buffer);
        let turn = if self.next.wrap { AVAILABLE } else { USED };
        memory.set(place + 14, WRITE | turn);
        self.next.advance();
        fence(Ordering::SeqCst);
        // 1: the device wants no notification.
        memory.get(PLACE.used + 2) != 1
    }

    fn take(&mut self, memory: &Memory) -> Option<u16> {
        let place = self.seen.descriptor();
        let turn = if self.seen.wrap { AVAILABLE | USED } else { 0 };
        if memory.get(place + 14) & (AVAILABLE | USED) != turn {
            return None;
        }
        self.seen.advance();
        Some(memory.get(place + 12))
    }

    fn ask(&mut self, memory: &Memory) {
        memory.set(PLACE.available, self.seen.index | u16::from(self.seen.wrap) << 15);
        // 2: an interrupt at that place.
        memory.set(PLACE.available + 2, 2);
        fence(Ordering::SeqCst);
    }
}

/// The next buffer that comes back. The driver looks `looks` times before it asks for an interrupt.
fn wait(ring: &mut dyn Ring, memory: &Memory, looks: u32, interrupts: &Receiver<()>) -> u16 {
    loop {
        for _ in 0..looks {
            if let Some(buffer) = ring.take(memory) {
                return buffer;
            }
            spin_loop();
        }
        // Those of requests before are of no use.
        while interrupts.try_recv().is_ok() {}
        ring.ask(memory);
        if let Some(buffer) = ring.take(memory) {
            return buffer;
        }
        interrupts.recv_timeout(LOST).expect("no interrupt, or no look at the ring");
    }
}

fn drive(ring: &mut dyn Ring, memory: &Memory, kicks: &Sender<()>, interrupts: &Receiver<()>) {
    let (mut done, mut position) = (0, 0);
    while done < REQUESTS {
        let count = 1 + done % DEPTH;
        for buffer in 0..count as u16 {
            let untouched = [UNTOUCHED; LENGTH as usize];
            memory.0.write_slice(&untouched, GuestAddress(buffer_address(buffer))).unwrap();
            if ring.offer(memory, buffer) {
                kicks.send(()).expect("the device is there");
            }
        }
        for expected in 0..count as u16 {
            assert_eq!(wait(ring, memory, done % 3 * 50, interrupts), expected);
            let mut bytes = [0; LENGTH as usize];
            memory.0.read_slice(&mut bytes, GuestAddress(buffer_address(expected))).unwrap();
            let stream = (position..).map(byte_at);
            assert!(bytes.iter().copied().eq(stream.take(bytes.len())), "{position}: {bytes:?}");
            position += u64::from(LENGTH);
        }
        done += count;
    }
}

/// Has a driver in another thread use a queue with these features.
fn assert_in_order(features: Features, mut ring: impl Ring) {
    let file: OwnedFd = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, MEMORY).unwrap();
    let mapped = FileOffset::new(File::from(file.try_clone().unwrap()), 0);
    let range = (GuestAddress(0), MEMORY as usize, Some(mapped));
    let memory = Memory(GuestMemoryMmap::from_ranges_with_files([range]).unwrap());
    let offering = |entropy| {
        let mut device = VirtioRng::new(entropy, Interface::Modern);
        device.offer_packed_queue();
        device
    };
    let mut device = Driver::with_memory(u64::MAX, None, offering, |bench| {
        bench.with_memory_of(file, MEMORY).unwrap().with_msix().unwrap()
    });
    device.start(features);
    let (kicks, kicked) = channel();
    let (interrupt, interrupts) = channel();
    thread::scope(|scope| {
        scope.spawn(move || drive(&mut ring, &memory, &kicks, &interrupts));
        loop {
            match kicked.recv_timeout(LOST) {
                Ok(()) => device.bench.write(BAR, NOTIFY, 2, 0),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the driver was not asked to notify"),
            }
            if device.bench.take_interrupt(QUEUE) {
                // At the end the driver does not wait for it any more.
                let _ = interrupt.send(());
            }
        }
    });
}

#[test]
fn a_split_queue_loses_nothing_to_a_driver_on_another_processor() {
    assert_in_order(SPLIT, Split::default());
}

#[test]
fn a_packed_queue_loses_nothing_to_a_driver_on_another_processor() {
    let start = Place { index: 0, wrap: true };
    assert_in_order(Features::all(), Packed { next: start, seen: start });
}
