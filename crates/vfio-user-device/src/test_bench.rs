//! A place to try a device without a guest, a socket or QEMU: for unit tests of devices.

mod exchange;
mod messages;
mod migration;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use crate::access::Bytes;
use crate::device::Device;
use crate::memory::{HeldMessage, MappedFile, Step};
use crate::pci::function::{FunctionError, OnPanic, PciFunction};
use crate::pci::irq_index::IrqIndex;
use crate::protocol::wire::{CONFIG_REGION, DmaMapFlags, MAX_DATA_SIZE};
use crate::waker::Waker;

/// Offset of the command register in configuration space.
const COMMAND: u64 = 0x04;
/// I/O space, memory space, bus master.
const ENABLED: [u8; 2] = [0x07, 0];

/// A device on a bench: registers are read and written by name of BAR and offset, guest memory is
/// a small buffer.
pub struct TestBench {
    pub(crate) function: PciFunction,
    memory: Option<Memory>,
    /// MSI or MSI-X, once the driver has enabled one of them.
    messages: Option<IrqIndex>,
    /// The client's ends of its vectors' eventfds, which is what a waker is.
    vectors: Vec<Waker>,
    by_message: bool,
    messages_held: bool,
    /// Messages to the client that it has not answered yet.
    held: VecDeque<HeldMessage>,
    messages_sent: usize,
}

/// The guest's memory, as the guest has it.
struct Memory {
    file: OwnedFd,
    mapping: MappedFile,
}

impl TestBench {
    /// Puts a device on the bench and enables it as a driver would.
    ///
    /// # Errors
    /// What is wrong with its configuration.
    pub fn new(device: impl Device + 'static) -> Result<Self, FunctionError> {
        let mut function = PciFunction::new(Box::new(device), OnPanic::Propagate)?;
        function.bus.connected = true;
        function.write(CONFIG_REGION, COMMAND, &ENABLED);
        Ok(TestBench {
            function,
            memory: None,
            messages: None,
            vectors: Vec::new(),
            by_message: false,
            messages_held: false,
            held: VecDeque::new(),
            messages_sent: 0,
        })
    }

    /// Assigns eventfds to all MSI-X vectors, as a virtual machine does whose driver enables MSI-X.
    ///
    /// # Errors
    /// The device has no MSI-X, or what eventfd(2) says.
    pub fn with_msix(self) -> std::io::Result<Self> {
        self.with_messages(IrqIndex::Msix)
    }

    /// Assigns eventfds to all MSI vectors, as a virtual machine does whose driver enables MSI.
    ///
    /// # Errors
    /// The device has no MSI, or what eventfd(2) says.
    pub fn with_msi(self) -> std::io::Result<Self> {
        self.with_messages(IrqIndex::Msi)
    }

    fn with_messages(mut self, index: IrqIndex) -> std::io::Result<Self> {
        self.messages = Some(index);
        let vectors = self.function.bus.interrupts.count(index);
        if vectors == 0 {
            let missing = format!("the device's configuration has no {index:?} vectors");
            return Err(std::io::Error::other(missing));
        }
        self.vectors = (0..vectors).map(|_| Waker::new()).collect::<std::io::Result<_>>()?;
        self.assign_vectors()?;
        Ok(self)
    }

    fn assign_vectors(&mut self) -> std::io::Result<()> {
        let Some(index) = self.messages else { return Ok(()) };
        let fds = self.vectors.iter().map(|vector| vector.as_fd().try_clone_to_owned());
        let fds: Vec<OwnedFd> = fds.collect::<std::io::Result<_>>()?;
        let bus = &mut self.function.bus;
        bus.interrupts.assign(index, 0, fds.into_iter().map(Some), &bus.config)?;
        Ok(())
    }

    /// Whether an MSI or MSI-X vector has interrupted since this was last asked.
    pub fn take_interrupt(&mut self, vector: usize) -> bool {
        self.vectors.get(vector).is_some_and(Waker::take)
    }

    /// Gives it `size` bytes of guest memory from address 0 on.
    ///
    /// # Errors
    /// What memfd_create(2) and mmap(2) say.
    pub fn with_memory(self, size: u64) -> std::io::Result<Self> {
        let file: OwnedFd = memfd_create("guest", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size)?;
        self.with_memory_of(file, size)
    }

    /// The same with the first `size` bytes of a file, which a driver in another thread can map, too.
    ///
    /// # Errors
    /// The file is shorter, or what mmap(2) says.
    pub fn with_memory_of(mut self, file: OwnedFd, size: u64) -> std::io::Result<Self> {
        let mapping = MappedFile::new(file.as_fd(), 0, size, DmaMapFlags::all())?;
        self.memory = Some(Memory { file, mapping });
        self.map_memory(0, size, true)?;
        Ok(self)
    }

    /// Makes the device reach its guest's memory by messages to the client, which answers them at
    /// once, or when [`TestBench::hold_messages`] ends.
    ///
    /// # Errors
    /// There is no memory.
    pub fn by_message(mut self) -> std::io::Result<Self> {
        self.by_message = true;
        self.function.bus.memory.clear();
        self.announce_memory()?;
        Ok(self)
    }

    /// Announces all of guest memory, if there is any.
    fn announce_memory(&mut self) -> std::io::Result<()> {
        match &self.memory {
            Some(memory) => self.map_memory(0, memory.mapping.len() as u64, true),
            None => Ok(()),
        }
    }

    /// Announces a part of guest memory to the device.
    ///
    /// # Errors
    /// There is no such memory, or it is announced already.
    pub fn map_memory(&mut self, address: u64, size: u64, writable: bool) -> std::io::Result<()> {
        let memory = self.memory.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        let file = if self.by_message { None } else { Some((memory.file.try_clone()?, address)) };
        let access = if writable { DmaMapFlags::all() } else { DmaMapFlags::READ };
        let mapped = self.function.bus.memory.map(address, size, access, file);
        mapped.map_err(std::io::Error::other)
    }

    /// Takes back all that was announced in a range. Returns false if something lies across its
    /// border.
    pub fn unmap_memory(&mut self, address: u64, size: u64) -> bool {
        self.function.bus.memory.unmap(address, size)
    }

    /// Truncates the file behind guest memory, as a hostile client can.
    ///
    /// # Errors
    /// What ftruncate(2) says.
    pub fn truncate_memory(&mut self, size: u64) -> std::io::Result<()> {
        let memory = self.memory.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        Ok(ftruncate(&memory.file, size)?)
    }

    /// Size of a BAR in bytes; 0 for one that the device does not have.
    pub fn bar_size(&self, bar: u32) -> u64 {
        self.function.bar(bar).map_or(0, |bar| bar.size)
    }

    /// Reads 1, 2, 4 or 8 bytes of a BAR, as a guest's load instruction would.
    ///
    /// # Panics
    /// There is no such BAR, place or size: in a test of a device that is a bug of the test.
    #[track_caller]
    pub fn read(&mut self, bar: u32, offset: u64, size: usize) -> u64 {
        self.check_access("read", bar, offset, size);
        let mut bytes = [0; 8];
        self.function.read(bar, offset, bytes.get_mut(..size).unwrap_or_default());
        self.run();
        u64::from_le_bytes(bytes)
    }

    /// Writes the low 1, 2, 4 or 8 bytes of `value` to a BAR.
    ///
    /// # Panics
    /// As [`TestBench::read`].
    #[track_caller]
    pub fn write(&mut self, bar: u32, offset: u64, size: usize, value: u64) {
        self.check_access("write", bar, offset, size);
        self.function.write(bar, offset, value.to_le_bytes().get(..size).unwrap_or_default());
        self.run();
    }

    #[track_caller]
    fn check_access(&self, direction: &str, bar: u32, offset: u64, size: usize) {
        let what = || format!("{direction} of {} at {offset:#x} of BAR {bar}", Bytes(size as u64));
        assert!(matches!(size, 1 | 2 | 4 | 8), "{}: an access has 1, 2, 4 or 8 bytes", what());
        let Some(found) = self.function.bar(bar) else {
            panic!("{}: the device's configuration has no BAR {bar}", what());
        };
        let end = offset.checked_add(size as u64);
        assert!(
            end.is_some_and(|end| end <= found.size),
            "{}: the BAR ends at {:#x}",
            what(),
            found.size
        );
    }

    /// Reads `size` bytes (8 at most) of configuration space.
    pub fn read_config(&mut self, offset: u64, size: usize) -> u64 {
        let mut bytes = [0; 8];
        self.function.read(CONFIG_REGION, offset, bytes.get_mut(..size).unwrap_or_default());
        self.run();
        u64::from_le_bytes(bytes)
    }

    /// Writes the low `size` bytes (8 at most) of `value` to configuration space.
    pub fn write_config(&mut self, offset: u64, size: usize, value: u64) {
        self.function.write(
            CONFIG_REGION,
            offset,
            value.to_le_bytes().get(..size).unwrap_or_default(),
        );
        self.run();
    }

    /// Resets the device.
    pub fn reset(&mut self) {
        self.function.reset();
        self.function.write(CONFIG_REGION, COMMAND, &ENABLED);
        self.run();
    }

    /// Lets the client go, and another one come with the same memory and interrupts, and a driver
    /// that enables the device.
    ///
    /// # Errors
    /// What the system says when the memory is mapped again.
    pub fn reconnect(&mut self) -> std::io::Result<()> {
        self.function.disconnect();
        self.held.clear();
        self.function.bus.connected = true;
        self.function.write(CONFIG_REGION, COMMAND, &ENABLED);
        self.announce_memory()?;
        self.assign_vectors()
    }

    /// Lets the timer that is due next fire now, or the task wake up that sleeps. Returns false if
    /// there is neither.
    pub fn fire_timer(&mut self) -> bool {
        let Some(due) = self.function.bus.next_due() else {
            return false;
        };
        let fired = self.function.fire_timer(due);
        self.run();
        fired
    }

    /// When the next timer is due or the next task wakes up, from now.
    pub fn timer_in(&self) -> Option<Duration> {
        let due = self.function.bus.next_due()?;
        Some(due.saturating_duration_since(std::time::Instant::now()))
    }

    /// Waits until the waker is used that the device waits for, or until work is done that a task
    /// waits for. Returns false if there is neither, or when the time is over.
    pub fn wait_for_waker(&mut self, timeout: Duration) -> bool {
        let wakers = self.function.bus.wakers();
        let mut fds: Vec<_> =
            wakers.into_iter().flatten().map(|waker| PollFd::new(waker, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(timeout).ok();
        let woken =
            !fds.is_empty() && poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0);
        self.function.take_wake_up();
        self.run();
        woken
    }

    /// Level of the interrupt pin.
    pub fn interrupt_pin(&self) -> bool {
        let bus = &self.function.bus;
        bus.interrupts.intx_asserted(&bus.config)
    }

    /// Copies guest memory out. Without memory, or past its end, it reads as zero.
    pub fn read_memory(&self, address: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = self.memory.as_ref().map(|memory| memory.mapping.read(address, &mut bytes));
        if !matches!(read, Some(Ok(()))) {
            bytes.fill(0);
        }
        bytes
    }

    /// Copies into guest memory. Returns false if there is none at that address.
    pub fn write_memory(&mut self, address: usize, data: &[u8]) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.mapping.write(address, data).is_ok())
    }

    /// Runs the device's tasks, and does the accesses to guest memory that it has asked for.
    fn run(&mut self) {
        loop {
            while !self.messages_held && !self.held.is_empty() {
                self.answer_held();
            }
            if self.function.bus.tasks.is_ready() {
                self.function.run_tasks();
                continue;
            }
            let bus = &mut self.function.bus;
            match bus.dma.step(&bus.memory, bus.config.bus_master(), MAX_DATA_SIZE) {
                Step::Idle => return,
                Step::Copied => {}
                Step::Done(done) => self.function.dma_done(done),
                Step::Send(message) => {
                    self.messages_sent += 1;
                    self.held.push_back(message.hold());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
