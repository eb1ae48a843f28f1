//! The course's device with an interrupt and DMA: `my_rng` (1234:cafe) with more registers.
//!
//! | register | offset | size | mode | meaning |
//! | --- | --- | --- | --- | --- |
//! | RANDOM | 0x0 | 4 | R | every read returns a new number |
//! | SEED | 0x4 | 4 | W | seeds the generator |
//! | CONTROL | 0x8 | 4 | W | 1: make a number; 2: fill memory |
//! | STATUS | 0xC | 4 | R, write 1 to clear | 1: a number is ready; 2: memory is filled; 4: memory could not be filled |
//! | NUMBER | 0x10 | 4 | R | the number that is ready, else 0 |
//! | ADDRESS | 0x18 | 8 | RW | where the memory is; the halves can be written one by one |
//! | LENGTH | 0x20 | 4 | RW | how many bytes of it: a multiple of 4, 4096 at most |
//!
//! The device interrupts when it sets a bit of STATUS. Until that bit is cleared, it begins nothing
//! of that kind.

use std::process::ExitCode;
use std::time::Duration;

use vfio_user_device::{
    Access, Bar, Bus, Device, DeviceConfig, DmaCompletion, Identity, Register, Width, log,
};

const RANDOM: u64 = 0x0;
const SEED: u64 = 0x4;
const CONTROL: u64 = 0x8;
const STATUS: u64 = 0xc;
const NUMBER: u64 = 0x10;
const ADDRESS: u64 = 0x18;
const ADDRESS_HIGH: u64 = 0x1c;
const LENGTH: u64 = 0x20;

const REGISTERS: [Register; 7] = [
    Register::new("RANDOM", RANDOM, 4),
    Register::new("SEED", SEED, 4),
    Register::new("CONTROL", CONTROL, 4),
    Register::new("STATUS", STATUS, 4),
    Register::new("NUMBER", NUMBER, 4),
    Register::new("ADDRESS", ADDRESS, 8),
    Register::new("LENGTH", LENGTH, 4),
];

/// CONTROL.
const MAKE: u64 = 1;
const FILL: u64 = 2;
/// STATUS.
const READY: u32 = 1;
const FILLED: u32 = 2;
const FAILED: u32 = 4;

/// How long it takes to make a number: long enough that a driver which asks instead of waiting asks
/// often, on a busy machine, too.
const MAKING: Duration = Duration::from_millis(20);
const MAX_LENGTH: u32 = 4096;
/// The timer.
const MADE: u32 = 0;

struct MyRng {
    state: u32,
    making: bool,
    filling: bool,
    status: u32,
    number: u32,
    address: u64,
    length: u32,
}

impl MyRng {
    fn new() -> Self {
        Self { state: 1, making: false, filling: false, status: 0, number: 0, address: 0, length: 0 }
    }

    /// Marsaglia's xorshift: each number is made of the one before.
    fn random(&mut self) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state
    }

    fn begin(&mut self, bus: &mut Bus, what: u64) {
        if what & MAKE != 0 && !self.making && self.status & READY == 0 {
            self.making = true;
            bus.set_timer(MADE, MAKING);
        }
        if what & FILL != 0 && !self.filling && self.status & (FILLED | FAILED) == 0 {
            self.fill(bus);
        }
    }

    fn fill(&mut self, bus: &mut Bus) {
        let Self { address, length, .. } = *self;
        if length == 0 || length > MAX_LENGTH || length % 4 != 0 {
            log::info!("LENGTH {length} is not a multiple of 4 from 4 to {MAX_LENGTH}");
            return self.end(bus, FAILED);
        }
        let data: Vec<u8> = (0..length / 4).flat_map(|_| self.random().to_le_bytes()).collect();
        match bus.dma_write(address, data, 0) {
            Ok(()) => self.filling = true,
            Err(error) => {
                log::info!("DMA to {address:#x}: {error:?}");
                self.end(bus, FAILED);
            }
        }
    }

    /// Sets a bit of STATUS, and interrupts.
    fn end(&mut self, bus: &mut Bus, what: u32) {
        self.status |= what;
        if bus.msi_enabled() {
            bus.signal_vector(0);
        } else {
            bus.set_intx(true);
        }
    }

    fn clear(&mut self, bus: &mut Bus, what: u32) {
        self.status &= !what;
        if self.status & READY == 0 {
            self.number = 0;
        }
        if self.status == 0 {
            bus.set_intx(false);
        }
    }
}

impl Device for MyRng {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(0x1234, 0xcafe).revision(0x10))
            .bar(0, Bar::memory32(4096).max_access_width(Width::Qword).registers(&REGISTERS))
            .interrupt_pin()
            .msi(1)
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            RANDOM => self.random().into(),
            STATUS => self.status.into(),
            NUMBER => self.number.into(),
            ADDRESS => self.address,
            ADDRESS_HIGH => self.address >> 32,
            LENGTH => self.length.into(),
            _ => 0,
        }
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        let low = u64::from(u32::MAX);
        // A write of 4 bytes has no more than those.
        let word = u32::try_from(value & low).unwrap_or_default();
        match (access.offset, access.width) {
            // A state of 0 would stay 0.
            (SEED, _) => self.state = if word == 0 { 1 } else { word },
            (CONTROL, _) => self.begin(bus, value),
            (STATUS, _) => self.clear(bus, word),
            (ADDRESS, Width::Qword) => self.address = value,
            (ADDRESS, _) => self.address = self.address & !low | value & low,
            (ADDRESS_HIGH, _) => self.address = self.address & low | value << 32,
            (LENGTH, _) => self.length = word,
            _ => {}
        }
    }

    fn on_timer(&mut self, bus: &mut Bus, _id: u32) {
        self.making = false;
        self.number = self.random();
        self.end(bus, READY);
    }

    fn on_dma_complete(&mut self, bus: &mut Bus, done: DmaCompletion) {
        self.filling = false;
        let Self { address, length, .. } = *self;
        match done.result {
            Ok(_) => {
                log::debug!("DMA of {length} bytes to {address:#x}");
                self.end(bus, FILLED);
            }
            Err(error) => {
                log::debug!("DMA of {length} bytes to {address:#x} failed: {error}");
                self.end(bus, FAILED);
            }
        }
    }

    fn reset(&mut self, bus: &mut Bus) {
        bus.cancel_timer(MADE);
        bus.cancel_dma();
        *self = Self::new();
    }
}

fn main() -> ExitCode {
    vfio_user_device::main(MyRng::new())
}
