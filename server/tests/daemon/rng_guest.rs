//! A guest's driver of the entropy device, reduced to one request at a time.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::*;

/// BAR of the modern interface, and places in it.
const BAR: u32 = 4;
const NOTIFY: u64 = 0x3000;
/// Guest memory in bytes, and where the test has its rings and buffer.
pub const MEMORY: u64 = 1 << 20;
/// Features from bit 32 on.
pub const VERSION_1: u32 = 1;
const RING_PACKED: u32 = 4;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const BUFFER: u64 = 0x10000;

/// A guest that has set the device up.
pub struct Guest {
    pub client: Client,
    memory: File,
    made: u16,
    /// Whether its queue is a packed one.
    packed: bool,
}

impl Guest {
    /// The guest of a socket.
    pub fn at(socket: &Path) -> Guest {
        Guest::of(Client::negotiated(socket))
    }

    /// The guest behind a client that has agreed on a version.
    pub fn of(mut client: Client) -> Guest {
        let memory: OwnedFd = memory(MEMORY);
        client.map(0, MEMORY, Some(&memory));
        set_up(&mut client, VERSION_1);
        assert_eq!(client.read(BAR, 0x14, 1), [15]);
        Guest { client, memory: File::from(memory), made: 0, packed: false }
    }

    /// The guest of a socket, with a packed queue.
    // The tests of the daemon alone do not use it.
    #[allow(dead_code)]
    pub fn packed_at(socket: &Path) -> Guest {
        let mut client = Client::negotiated(socket);
        let memory: OwnedFd = memory(MEMORY);
        client.map(0, MEMORY, Some(&memory));
        set_up(&mut client, VERSION_1 | RING_PACKED);
        assert_eq!(client.read(BAR, 0x14, 1), [15]);
        Guest { client, memory: File::from(memory), made: 0, packed: true }
    }

    /// The same guest, with a copy of its memory, behind another client that has agreed on a version.
    // The tests of many guests do not use it.
    #[allow(dead_code)]
    pub fn moved(&self, mut client: Client) -> Guest {
        let copy: OwnedFd = memory(MEMORY);
        client.map(0, MEMORY, Some(&copy));
        let copy = File::from(copy);
        copy.write_all_at(&self.bytes(0, MEMORY as usize), 0).unwrap();
        Guest { client, memory: copy, made: self.made, packed: self.packed }
    }

    /// Asks for bytes.
    pub fn ask(&mut self, length: u32) {
        self.made += 1;
        if self.packed {
            let (place, wrap) = self.packed_place();
            let flags = 2 | wrap << 7 | (1 - wrap) << 15;
            let descriptor = Bytes::new().u64(BUFFER).u32(length).u16(self.made).0;
            self.memory.write_all_at(&descriptor, place).unwrap();
            self.memory.write_all_at(&flags.to_le_bytes(), place + 14).unwrap();
        } else {
            let descriptor = Bytes::new().u64(BUFFER).u32(length).u16(2).u16(0).0;
            self.memory.write_all_at(&descriptor, DESCRIPTORS).unwrap();
            self.memory.write_all_at(&self.made.to_le_bytes(), AVAILABLE + 2).unwrap();
        }
        self.client.write(BAR, NOTIFY, &[0, 0]);
    }

    /// Where the descriptor of the last request is in a packed queue, and the wrap counter of its lap.
    fn packed_place(&self) -> (u64, u16) {
        let before = self.made - 1;
        (DESCRIPTORS + 16 * u64::from(before % 16), 1 - before / 16 % 2)
    }

    /// Waits for the answer to the last request.
    pub fn answer(&mut self) -> Vec<u8> {
        wait_until("the request is answered", || self.answered() == self.made);
        let length = match self.packed {
            true => self.packed_place().0 + 8,
            false => USED + 8 + 8 * u64::from((self.made - 1) % 16),
        };
        let length = u32_at(&self.bytes(length, 4), 0);
        self.bytes(BUFFER, length as usize)
    }

    /// Keeps requests pending until then, so that the guest always has some however seldom this thread
    /// runs. Returns the bytes of those that were answered.
    // The tests of the daemon alone do not use it.
    #[allow(dead_code)]
    pub fn ask_until(&mut self, end: Instant, length: u32) -> usize {
        let descriptor = Bytes::new().u64(BUFFER).u32(length).u16(2).u16(0).0;
        self.memory.write_all_at(&descriptor, DESCRIPTORS).unwrap();
        let (mut bytes, mut seen) = (0, self.made);
        while Instant::now() < end {
            let answered = self.answered();
            for number in seen..answered {
                bytes += u32_at(&self.bytes(USED + 8 + 8 * u64::from(number % 16), 4), 0) as usize;
            }
            seen = answered;
            // All of them are descriptor 0.
            self.made = answered + 15;
            self.memory.write_all_at(&self.made.to_le_bytes(), AVAILABLE + 2).unwrap();
            self.client.write(BAR, NOTIFY, &[0, 0]);
            std::thread::sleep(Duration::from_millis(1));
        }
        bytes
    }

    /// How many requests are answered.
    pub fn answered(&self) -> u16 {
        if self.packed {
            let (place, wrap) = self.packed_place();
            let flags = self.u16_at(place + 14);
            let answered = (flags >> 7 & 1, flags >> 15) == (wrap, wrap);
            return self.made - u16::from(!answered);
        }
        self.u16_at(USED + 2)
    }

    fn u16_at(&self, address: u64) -> u16 {
        let bytes = self.bytes(address, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_exact_at(&mut bytes, address).unwrap();
        bytes
    }

    /// How long the median read of a register takes, of so many, and the 99th of a hundred.
    pub fn register_read(&mut self, reads: usize) -> (Duration, Duration) {
        let mut times: Vec<Duration> = (0..reads)
            .map(|_| {
                let begun = Instant::now();
                self.client.read(BAR, 0x12, 2);
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        (times[reads / 2], times[reads * 99 / 100])
    }
}

/// Sets up the device's queue, which the device then looks at.
pub fn set_up(client: &mut Client, features: u32) {
    client.write(CONFIG, 4, &[6, 0]);
    client.write(BAR, 0x14, &[0]);
    client.write(BAR, 0x14, &[3]);
    client.write_u32(BAR, 0x08, 1);
    client.write_u32(BAR, 0x0c, features);
    client.write(BAR, 0x14, &[11]);
    client.write(BAR, 0x18, &16_u16.to_le_bytes());
    for (register, address) in [(0x20, DESCRIPTORS), (0x28, AVAILABLE), (0x30, USED)] {
        client.write_u32(BAR, register, address as u32);
    }
    client.write(BAR, 0x1c, &[1, 0]);
    client.write(BAR, 0x14, &[15]);
}
