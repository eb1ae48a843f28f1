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
const MEMORY: u64 = 1 << 20;
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const BUFFER: u64 = 0x10000;

/// A guest that has set the device up.
pub struct Guest {
    pub client: Client,
    memory: File,
    made: u16,
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
        client.write(CONFIG, 4, &[6, 0]);
        client.write(BAR, 0x14, &[0]);
        client.write(BAR, 0x14, &[3]);
        client.write_u32(BAR, 0x08, 1);
        client.write_u32(BAR, 0x0c, 1);
        client.write(BAR, 0x14, &[11]);
        client.write(BAR, 0x18, &16_u16.to_le_bytes());
        for (register, address) in [(0x20, DESCRIPTORS), (0x28, AVAILABLE), (0x30, USED)] {
            client.write_u32(BAR, register, address as u32);
        }
        client.write(BAR, 0x1c, &[1, 0]);
        client.write(BAR, 0x14, &[15]);
        assert_eq!(client.read(BAR, 0x14, 1), [15]);
        Guest { client, memory: File::from(memory), made: 0 }
    }

    /// Asks for bytes.
    pub fn ask(&mut self, length: u32) {
        let descriptor = Bytes::new().u64(BUFFER).u32(length).u16(2).u16(0).0;
        self.memory.write_all_at(&descriptor, DESCRIPTORS).unwrap();
        self.made += 1;
        self.memory.write_all_at(&self.made.to_le_bytes(), AVAILABLE + 2).unwrap();
        self.client.write(BAR, NOTIFY, &[0, 0]);
    }

    /// Waits for the answer to the last request.
    pub fn answer(&mut self) -> Vec<u8> {
        wait_until("the request is answered", || self.answered() == self.made);
        let element = USED + 4 + 8 * u64::from((self.made - 1) % 16);
        let length = u32_at(&self.bytes(element + 4, 4), 0);
        self.bytes(BUFFER, length as usize)
    }

    /// How many requests are answered.
    pub fn answered(&self) -> u16 {
        let index = self.bytes(USED + 2, 2);
        u16::from_le_bytes([index[0], index[1]])
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
