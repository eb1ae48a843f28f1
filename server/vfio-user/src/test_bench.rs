//! A place to try a device without a guest, a socket or QEMU: for unit tests of devices.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::device::Device;
use crate::dma::{MappedFile, Step};
use crate::host::{Host, HostError};
use crate::wire::{CONFIG_REGION, DmaMapFlags};

/// Offset of the command register in configuration space.
const COMMAND: u64 = 0x04;
/// Memory space, bus master.
const ENABLED: [u8; 2] = [0x06, 0];

/// A device on a bench: registers are read and written by name of BAR and offset, guest memory is
/// a small buffer.
pub struct TestBench {
    host: Host,
    memory: Option<MappedFile>,
}

impl TestBench {
    /// Puts a device on the bench and enables it as a driver would.
    ///
    /// # Errors
    /// What is wrong with its description.
    pub fn new(device: impl Device + 'static) -> Result<Self, HostError> {
        let mut host = Host::new(Box::new(device))?;
        host.bus.connected = true;
        host.write(CONFIG_REGION, COMMAND, &ENABLED);
        Ok(TestBench { host, memory: None })
    }

    /// Gives it `size` bytes of guest memory from address 0 on.
    ///
    /// # Errors
    /// What memfd_create(2) and mmap(2) say.
    pub fn with_memory(mut self, size: u64) -> std::io::Result<Self> {
        let file: OwnedFd = memfd_create("guest", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size)?;
        self.memory = Some(MappedFile::new(file.as_fd(), 0, size, DmaMapFlags::all())?);
        self.host
            .bus
            .memory
            .map(0, size, DmaMapFlags::all(), Some((file, 0)))
            .map_err(std::io::Error::other)?;
        Ok(self)
    }

    /// Reads `size` bytes (8 at most) of a BAR, as a guest's load instruction would. Outside of
    /// the BAR nothing answers, which reads as all ones.
    pub fn read(&mut self, bar: u32, offset: u64, size: usize) -> u64 {
        let mut bytes = [0; 8];
        let data = bytes.get_mut(..size).unwrap_or_default();
        let end = offset.saturating_add(data.len() as u64);
        if bar == CONFIG_REGION || end > self.host.region_size(bar) {
            data.fill(0xff);
        } else {
            self.host.read(bar, offset, data);
        }
        self.run();
        u64::from_le_bytes(bytes)
    }

    /// Writes the low `size` bytes (8 at most) of `value` to a BAR.
    pub fn write(&mut self, bar: u32, offset: u64, size: usize, value: u64) {
        let bytes = value.to_le_bytes();
        let data = bytes.get(..size).unwrap_or_default();
        let end = offset.saturating_add(data.len() as u64);
        if bar != CONFIG_REGION && end <= self.host.region_size(bar) {
            self.host.write(bar, offset, data);
        }
        self.run();
    }

    /// Resets the device.
    pub fn reset(&mut self) {
        self.host.reset();
        self.host.write(CONFIG_REGION, COMMAND, &ENABLED);
        self.run();
    }

    /// Lets the timer fire now if the device has set it. Returns whether it had.
    pub fn fire_timer(&mut self) -> bool {
        let set = self.host.bus.timer.is_some();
        if set {
            self.host.timer();
            self.run();
        }
        set
    }

    /// Level of the interrupt pin.
    pub fn interrupt_pin(&self) -> bool {
        self.host.bus.interrupts.pin_asserted()
    }

    /// Copies guest memory out. Without memory, or past its end, it reads as zero.
    pub fn read_memory(&self, address: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = self.memory.as_ref().map(|memory| memory.read(address, &mut bytes));
        if !matches!(read, Some(Ok(()))) {
            bytes.fill(0);
        }
        bytes
    }

    /// Copies into guest memory. Returns false if there is none at that address.
    pub fn write_memory(&mut self, address: usize, data: &[u8]) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.write(address, data).is_ok())
    }

    /// Does the accesses to guest memory that the device has asked for.
    fn run(&mut self) {
        loop {
            let bus = &mut self.host.bus;
            let step = bus.dma.step(&bus.memory, bus.config.bus_master(), usize::MAX);
            let Step::Done(done) = step else { return };
            self.host.dma_done(done);
        }
    }
}
