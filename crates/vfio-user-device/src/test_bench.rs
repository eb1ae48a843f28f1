//! A place to try a device without a guest, a socket or QEMU: for unit tests of devices.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use zerocopy::IntoBytes;

use crate::device::Device;
use crate::dma::{MappedFile, Step};
use crate::host::{Host, HostError, OnPanic};
use crate::interrupts::IrqIndex;
use crate::waker::Waker;
use crate::wire::{CONFIG_REGION, Command, DmaMapFlags, Header, HeaderFlags, MAX_DATA_SIZE};
use crate::words::Bytes;

/// Offset of the command register in configuration space.
const COMMAND: u64 = 0x04;
/// I/O space, memory space, bus master.
const ENABLED: [u8; 2] = [0x07, 0];

/// A device on a bench: registers are read and written by name of BAR and offset, guest memory is
/// a small buffer.
pub struct TestBench {
    host: Host,
    memory: Option<Memory>,
    /// MSI or MSI-X, once the driver has enabled one of them.
    messages: Option<IrqIndex>,
    /// The client's ends of its vectors' eventfds, which is what a waker is.
    vectors: Vec<Waker>,
    by_message: bool,
    messages_held: bool,
    held: Option<Held>,
}

/// The guest's memory, as the guest has it.
struct Memory {
    file: OwnedFd,
    mapping: MappedFile,
}

/// A message to the client that it has not answered yet.
struct Held {
    header: Header,
    address: u64,
    length: usize,
    data: Vec<u8>,
    access: Vec<u8>,
}

impl TestBench {
    /// Puts a device on the bench and enables it as a driver would.
    ///
    /// # Errors
    /// What is wrong with its description.
    pub fn new(device: impl Device + 'static) -> Result<Self, HostError> {
        let mut host = Host::new(Box::new(device), OnPanic::Propagate)?;
        host.bus.connected = true;
        host.write(CONFIG_REGION, COMMAND, &ENABLED);
        Ok(TestBench {
            host,
            memory: None,
            messages: None,
            vectors: Vec::new(),
            by_message: false,
            messages_held: false,
            held: None,
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
        let vectors = self.host.bus.interrupts.count(index);
        if vectors == 0 {
            let missing = format!("the device's description has no {index:?} vectors");
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
        let bus = &mut self.host.bus;
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
    pub fn with_memory(mut self, size: u64) -> std::io::Result<Self> {
        let file: OwnedFd = memfd_create("guest", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size)?;
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
        self.host.bus.memory.clear();
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

    /// Leaves messages to the client unanswered, or answers those that wait.
    pub fn hold_messages(&mut self, hold: bool) {
        self.messages_held = hold;
        self.run();
    }

    /// Announces a part of guest memory to the device.
    ///
    /// # Errors
    /// There is no such memory, or it is announced already.
    pub fn map_memory(&mut self, address: u64, size: u64, writable: bool) -> std::io::Result<()> {
        let memory = self.memory.as_ref().ok_or(std::io::ErrorKind::NotFound)?;
        let file = if self.by_message { None } else { Some((memory.file.try_clone()?, address)) };
        let access = if writable { DmaMapFlags::all() } else { DmaMapFlags::READ };
        let mapped = self.host.bus.memory.map(address, size, access, file);
        mapped.map_err(std::io::Error::other)
    }

    /// Takes back all that was announced in a range. Returns false if something lies across its
    /// border.
    pub fn unmap_memory(&mut self, address: u64, size: u64) -> bool {
        self.host.bus.memory.unmap(address, size)
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
        self.host.bar(bar).map_or(0, |bar| bar.size)
    }

    /// Reads 1, 2, 4 or 8 bytes of a BAR, as a guest's load instruction would.
    ///
    /// # Panics
    /// There is no such BAR, place or size: in a test of a device that is a mistake of the test.
    #[track_caller]
    pub fn read(&mut self, bar: u32, offset: u64, size: usize) -> u64 {
        self.check_access("read", bar, offset, size);
        let mut bytes = [0; 8];
        self.host.read(bar, offset, bytes.get_mut(..size).unwrap_or_default());
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
        self.host.write(bar, offset, value.to_le_bytes().get(..size).unwrap_or_default());
        self.run();
    }

    #[track_caller]
    fn check_access(&self, verb: &str, bar: u32, offset: u64, size: usize) {
        let what = format!("{verb} of {} at {offset:#x} of BAR {bar}", Bytes(size as u64));
        assert!(matches!(size, 1 | 2 | 4 | 8), "{what}: an access has 1, 2, 4 or 8 bytes");
        let Some(found) = self.host.bar(bar) else {
            panic!("{what}: the device's description has no BAR {bar}");
        };
        let end = offset.checked_add(size as u64);
        assert!(
            end.is_some_and(|end| end <= found.size),
            "{what}: the BAR ends at {:#x}",
            found.size
        );
    }

    /// Reads `size` bytes (8 at most) of configuration space.
    pub fn read_config(&mut self, offset: u64, size: usize) -> u64 {
        let mut bytes = [0; 8];
        self.host.read(CONFIG_REGION, offset, bytes.get_mut(..size).unwrap_or_default());
        self.run();
        u64::from_le_bytes(bytes)
    }

    /// Writes the low `size` bytes (8 at most) of `value` to configuration space.
    pub fn write_config(&mut self, offset: u64, size: usize, value: u64) {
        self.host.write(CONFIG_REGION, offset, value.to_le_bytes().get(..size).unwrap_or_default());
        self.run();
    }

    /// Resets the device.
    pub fn reset(&mut self) {
        self.host.reset();
        self.host.write(CONFIG_REGION, COMMAND, &ENABLED);
        self.run();
    }

    /// Lets the client go, and another one come with the same memory and interrupts, and a driver
    /// that enables the device.
    ///
    /// # Errors
    /// What the system says when the memory is mapped again.
    pub fn reconnect(&mut self) -> std::io::Result<()> {
        self.host.disconnect();
        self.held = None;
        self.host.bus.connected = true;
        self.host.write(CONFIG_REGION, COMMAND, &ENABLED);
        self.announce_memory()?;
        self.assign_vectors()
    }

    /// Lets the timer that is due next fire now. Returns false if the device has set none.
    pub fn fire_timer(&mut self) -> bool {
        let Some(due) = self.host.bus.timers.next_due() else {
            return false;
        };
        let fired = self.host.fire_timer(due);
        self.run();
        fired
    }

    /// When the next timer is due, from now.
    pub fn timer_in(&self) -> Option<Duration> {
        let due = self.host.bus.timers.next_due()?;
        Some(due.saturating_duration_since(std::time::Instant::now()))
    }

    /// Waits until the waker is used that the device waits for. Returns false if it waits for none,
    /// or when the time is over.
    pub fn wait_for_waker(&mut self, patience: Duration) -> bool {
        let Some(waker) = self.host.bus.awaited.clone() else {
            return false;
        };
        let mut fds = [PollFd::new(&waker, PollFlags::IN)];
        let patience = Timespec::try_from(patience).ok();
        let woken = matches!(poll(&mut fds, patience.as_ref()), Ok(1));
        self.host.take_wake_up();
        self.run();
        woken
    }

    /// Level of the interrupt pin.
    pub fn interrupt_pin(&self) -> bool {
        let bus = &self.host.bus;
        bus.interrupts.pin_asserted(&bus.config)
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

    /// Does the accesses to guest memory that the device has asked for.
    fn run(&mut self) {
        loop {
            if !self.messages_held {
                self.answer_held();
            }
            let bus = &mut self.host.bus;
            match bus.dma.step(&bus.memory, bus.config.bus_master(), MAX_DATA_SIZE) {
                Step::Idle => return,
                Step::Copied => {}
                Step::Done(done) => self.host.dma_done(done),
                Step::Send(message) => {
                    let header = Header {
                        id: message.id,
                        command: message.command as u16,
                        size: 0,
                        flags: HeaderFlags::REPLY.bits(),
                        error: 0,
                    };
                    self.held = Some(Held {
                        header,
                        address: message.access.address,
                        length: usize::try_from(message.access.count).unwrap_or(0),
                        data: message.data.to_vec(),
                        access: message.access.as_bytes().to_vec(),
                    });
                }
            }
        }
    }

    /// Answers the message that waits, as the client would.
    fn answer_held(&mut self) {
        let Some(Held { header, address, length, data, access: mut reply }) = self.held.take()
        else {
            return;
        };
        let address = usize::try_from(address).unwrap_or(usize::MAX);
        if header.command == Command::DmaWrite as u16 {
            self.write_memory(address, &data);
        } else {
            reply.extend(self.read_memory(address, length));
        }
        self.host.bus.dma.reply(&header, &reply);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{Access, Bar, Bus, Description, Identity};

    /// A device that says no to nothing.
    struct Silent;

    impl Device for Silent {
        fn describe(&self) -> Description {
            Description::new(Identity::new(1, 2)).bar(0, Bar::memory32(4096)).msi(2)
        }

        fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
            0
        }

        fn write(&mut self, bus: &mut Bus, _access: Access, value: u64) {
            bus.raise(u16::try_from(value).unwrap());
        }
    }

    fn panic_of(access: impl FnOnce(&mut TestBench)) -> String {
        let mut bench = TestBench::new(Silent).unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| access(&mut bench))).unwrap_err();
        *panic.downcast::<String>().unwrap()
    }

    #[test]
    fn an_access_that_a_guest_cannot_make_ends_the_test_with_its_place() {
        let past = panic_of(|bench| _ = bench.read(0, 0x1000, 4));
        assert_eq!(past, "read of 4 bytes at 0x1000 of BAR 0: the BAR ends at 0x1000");
        let across = panic_of(|bench| bench.write(0, 0xfff, 2, 0));
        assert_eq!(across, "write of 2 bytes at 0xfff of BAR 0: the BAR ends at 0x1000");
        let size = panic_of(|bench| _ = bench.read(0, 0, 3));
        assert_eq!(size, "read of 3 bytes at 0x0 of BAR 0: an access has 1, 2, 4 or 8 bytes");
        let bar = panic_of(|bench| _ = bench.read(1, 0, 1));
        assert_eq!(bar, "read of 1 byte at 0x0 of BAR 1: the device's description has no BAR 1");
    }

    #[test]
    fn msi_vectors_interrupt_a_test_also_after_a_reconnect() {
        let mut bench = TestBench::new(Silent).unwrap().with_msi().unwrap();
        bench.write(0, 0, 4, 1);
        assert!(!bench.take_interrupt(0) && bench.take_interrupt(1));
        bench.reconnect().unwrap();
        bench.write(0, 0, 4, 0);
        assert!(bench.take_interrupt(0));
        assert!(TestBench::new(Silent).unwrap().with_msix().is_err(), "it has none");
    }
}
