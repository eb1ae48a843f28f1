//! A device's way out: interrupts, guest memory, time.

use std::time::{Duration, Instant};

use crate::keeper::Ledger;
use crate::memory::SharedMemory;
use crate::memory::{
    Ahead, Buffer, Cursor, DmaError, DmaQueue, DmaSpace, Owner, Rejected, Segment,
};
use crate::pci::ConfigSpace;
use crate::pci::config::{BAR_COUNT, DeviceConfig, Identity};
use crate::pci::interrupts::Interrupts;
use crate::recording::Recorder;
use crate::task::Tasks;
use crate::timers::Timers;
use crate::tracked::Tracked;
use crate::waker::Waker;

/// What a device can do outside of its registers. Each callback of a
/// [`Device`](crate::Device) is given one.
#[derive(Debug)]
pub struct Bus {
    pub(crate) config: Tracked<ConfigSpace>,
    pub(crate) interrupts: Tracked<Interrupts>,
    pub(crate) memory: Tracked<DmaSpace>,
    pub(crate) dma: Tracked<DmaQueue>,
    pub(crate) timers: Tracked<Timers>,
    pub(crate) tasks: Tasks,
    /// What the device waits for, besides its timers.
    pub(crate) awaited: Option<Waker>,
    /// Whether there is a client, and so a guest.
    pub(crate) connected: bool,
    /// The device stands still for its migration: nothing that it waits for happens.
    pub(crate) stopped: bool,
    pub(crate) shared: [Option<SharedMemory>; BAR_COUNT],
    /// What happens is recorded to it.
    pub(crate) recorder: Recorder,
    /// Keeps all of this for a process that takes this one's place after a crash.
    pub(crate) ledger: Option<Box<Ledger>>,
}

impl Bus {
    /// A bus for a device of that config, which has been checked.
    pub(crate) fn new(config: &DeviceConfig) -> std::io::Result<Self> {
        let mut shared: [Option<SharedMemory>; BAR_COUNT] = Default::default();
        for (slot, bar) in shared.iter_mut().zip(&config.bars) {
            if let Some(bar) = bar.as_ref().filter(|bar| !bar.mmap_areas.is_empty()) {
                *slot = Some(SharedMemory::new(bar.size)?);
            }
        }
        Ok(Bus { shared, ..Bus::without_shared_memory(config) })
    }

    /// One that stands in another one's place.
    pub(crate) fn placeholder() -> Self {
        Bus::without_shared_memory(&DeviceConfig::new(Identity::new(0, 0)))
    }

    fn without_shared_memory(config: &DeviceConfig) -> Self {
        Bus {
            config: Tracked::new(ConfigSpace::new(config)),
            interrupts: Tracked::new(Interrupts::new(config)),
            memory: Tracked::new(DmaSpace::default()),
            dma: Tracked::new(DmaQueue::default()),
            timers: Tracked::new(Timers::default()),
            tasks: Tasks::default(),
            awaited: None,
            connected: false,
            stopped: false,
            shared: Default::default(),
            recorder: Recorder::default(),
            ledger: None,
        }
    }

    /// Drives the interrupt pin INTA#. It is level-triggered: the guest is interrupted until the
    /// device takes it back. Without an interrupt pin nothing happens, and a driver that uses MSI or
    /// MSI-X does not see it.
    pub fn set_intx(&mut self, asserted: bool) {
        self.interrupts.set_intx(asserted, &self.config);
    }

    /// Raises a vector of MSI or MSI-X, whichever the driver has enabled. While the driver has it
    /// masked it stays pending; while neither is enabled nothing happens.
    ///
    /// A driver may allow fewer MSI vectors than the device has, often a single one. It then finds
    /// the others among those, by the low bits of their numbers.
    pub fn signal_vector(&mut self, vector: u16) {
        self.interrupts.signal_vector(vector, &self.config);
    }

    /// Takes all interrupts back: the pin, and vectors that are pending behind a mask.
    pub fn clear_interrupts(&mut self) {
        self.interrupts.clear();
    }

    /// Whether the driver uses MSI or MSI-X, so that [`Bus::signal_vector`] is the way to interrupt it; else
    /// it is [`Bus::set_intx`].
    pub fn msi_enabled(&self) -> bool {
        self.interrupts.msi_enabled(&self.config)
    }

    /// Whether the driver uses MSI-X, for devices whose registers depend on that.
    pub fn msix_enabled(&self) -> bool {
        self.interrupts.msix_enabled(&self.config)
    }

    /// Reads configuration space as the driver finds it; bytes beyond its end are 0.
    pub fn config_read(&self, offset: usize, data: &mut [u8]) {
        let pin = self.interrupts.intx_asserted(&self.config);
        self.config.read(offset..offset.saturating_add(data.len()), pin, data);
    }

    /// Writes to configuration space as a driver does: bits that it may not write stay as they are.
    pub fn config_write(&mut self, offset: usize, data: &[u8]) {
        self.config.write(offset, data);
        self.interrupts.masks_changed(&self.config);
    }

    /// Starts to read `length` bytes of guest memory at the address that the driver has given to
    /// the device. The bytes come with [`Device::on_dma_complete`](crate::Device::on_dma_complete) and `tag`,
    /// after the present callback has returned.
    ///
    /// # Errors
    /// [`DmaError::TooLong`], [`DmaError::QueueFull`], and [`DmaError::Disconnected`] while there is
    /// no guest; everything else comes with `dma_done`.
    pub fn dma_read(&mut self, address: u64, length: usize, tag: u64) -> Result<(), Rejected> {
        if !self.connected {
            return Err(Rejected { error: DmaError::Disconnected, data: Vec::new() });
        }
        let place = vec![Segment { address, length }];
        self.dma.access(Owner::Device(tag), place, Vec::new(), length)
    }

    /// Starts to write `data` to guest memory. That it is done comes with
    /// [`Device::on_dma_complete`](crate::Device::on_dma_complete) and `tag`.
    ///
    /// # Errors
    /// As [`Bus::dma_read`]; the data comes back with the error.
    pub fn dma_write(&mut self, address: u64, data: Vec<u8>, tag: u64) -> Result<(), Rejected> {
        self.dma_scatter(vec![Segment { address, length: data.len() }], data, tag)
    }

    /// Starts to write `data` to several places, each of which takes as many bytes as it holds;
    /// what does not fit is not written. The guest sees the places change in their order, and when
    /// one cannot be written those after it stay as they are. That all of it is done comes with
    /// [`Device::on_dma_complete`](crate::Device::on_dma_complete) and `tag`.
    ///
    /// # Errors
    /// As [`Bus::dma_write`].
    pub fn dma_scatter(
        &mut self,
        segments: Vec<Segment>,
        data: Vec<u8>,
        tag: u64,
    ) -> Result<(), Rejected> {
        if !self.connected {
            return Err(Rejected { error: DmaError::Disconnected, data });
        }
        self.dma.access(Owner::Device(tag), segments, data, 0)
    }

    /// Reads guest memory at once, for code that cannot wait for
    /// [`Device::dma_done`](crate::Device::dma_done). It reaches no memory but what the client
    /// shares (QEMU: `share=on`).
    ///
    /// # Errors
    /// [`DmaError::NotShared`] of other memory, and what [`Bus::dma_read`] ends with.
    pub fn dma_read_now(&mut self, address: u64, data: &mut [u8]) -> Result<(), DmaError> {
        self.check_bus_master()?;
        self.memory.access_now(address, Buffer::Read(data))
    }

    /// Writes guest memory at once, as [`Bus::dma_read_now`] reads it.
    ///
    /// # Errors
    /// As there. The first bytes may have been written.
    pub fn dma_write_now(&mut self, address: u64, data: &[u8]) -> Result<(), DmaError> {
        self.check_bus_master()?;
        self.memory.access_now(address, Buffer::Write(data))
    }

    fn check_bus_master(&self) -> Result<(), DmaError> {
        match (self.connected, self.config.bus_master()) {
            (false, _) => Err(DmaError::Disconnected),
            (true, false) => Err(DmaError::NotBusMaster),
            (true, true) => Ok(()),
        }
    }

    /// Forgets the accesses to guest memory that have not ended; the device is not told of them.
    /// One that the client was asked for already is carried out all the same, see
    /// [`Bus::dma_outstanding`].
    pub fn cancel_dma(&mut self) {
        self.dma.clear();
    }

    /// Whether an access to guest memory has not ended, be it that it was cancelled. A device that
    /// says "reset is done" before would have its old accesses meet memory in new use.
    pub fn dma_outstanding(&self) -> bool {
        self.dma.is_outstanding()
    }

    /// Lets [`Device::on_timer`](crate::Device::on_timer) be called with `id` once, after that time, or
    /// when the next client has connected, if there is none then.
    ///
    /// The device chooses the numbers of its timers, 0 if it needs no more than one. Setting one
    /// again moves it. No more than 64 can be set at a time.
    pub fn set_timer(&mut self, id: u32, after: Duration) {
        self.timers.set(id, Instant::now().checked_add(after));
    }

    /// Stops a timer.
    pub fn cancel_timer(&mut self, id: u32) {
        self.timers.cancel(id);
    }

    /// Lets [`Device::on_wake`](crate::Device::on_wake) be called once, after the waker was used. There
    /// is one wait; another one takes its place.
    pub fn wait_for(&mut self, waker: &Waker) {
        self.awaited = Some(waker.clone());
    }

    /// Ends the wait. What the waker was used for until then is not forgotten.
    pub fn stop_waiting(&mut self) {
        self.awaited = None;
    }

    /// Whether the device is to outlive a crash of this process (`--keeper`).
    pub fn is_kept(&self) -> bool {
        self.ledger.is_some()
    }

    /// The memory behind a BAR with mappable parts, which the guest writes to without the device
    /// hearing of it.
    pub fn shared_memory(&self, bar: usize) -> Option<&SharedMemory> {
        self.shared.get(bar)?.as_ref()
    }

    /// Copies the bytes of a task's access as far as memory is mapped.
    pub(crate) fn copy_mapped(
        &mut self,
        segments: &[Segment],
        cursor: &mut Cursor,
        buffer: &mut Buffer<'_>,
    ) -> Result<Ahead, DmaError> {
        self.check_bus_master()?;
        cursor.copy(&self.memory, segments, buffer, self.tasks.budget())
    }

    /// When the next timer fires or the next task wakes up.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let due = self.timers.next_due().into_iter().chain(self.tasks.next_due()).min();
        due.filter(|_| !self.stopped)
    }

    /// Whether an access to guest memory or a task can go on.
    pub(crate) fn is_ready(&self) -> bool {
        !self.stopped && (self.dma.is_ready() || self.tasks.is_ready())
    }

    /// What may wake the device from another thread: what it waits for, and its tasks' waker.
    pub(crate) fn wakers(&self) -> [Option<&Waker>; 2] {
        let wakers = [self.awaited.as_ref(), self.tasks.session_waker()];
        wakers.map(|waker| waker.filter(|_| !self.stopped))
    }

    /// The client has gone: with it go its memory, its descriptors, and what its guest has written
    /// to PCI. The interrupt pin keeps its level, which is the device's.
    pub(crate) fn disconnect(&mut self) {
        self.connected = false;
        self.config.reset();
        self.interrupts.disconnect();
        self.interrupts.table.reset();
        self.memory.disconnect();
        self.record_to(&Recorder::default());
    }

    /// The device will never be called again: nothing is under way any more.
    pub(crate) fn fall_silent(&mut self) {
        self.interrupts.clear();
        self.dma.clear();
        self.timers.clear();
        self.tasks.clear();
        self.awaited = None;
    }

    /// Everything that a reset takes back outside of the device itself.
    pub(crate) fn reset(&mut self) {
        self.config.reset();
        self.interrupts.reset();
        self.fall_silent();
    }
}
