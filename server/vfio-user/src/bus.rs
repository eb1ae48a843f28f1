//! A device's way out: interrupts, guest memory, time.

use std::time::{Duration, Instant};

use crate::description::{BAR_COUNT, Description};
use crate::dma::{DmaError, DmaQueue, DmaSpace, Rejected, Segment};
use crate::interrupts::Interrupts;
use crate::pci::ConfigSpace;
use crate::shared_memory::SharedMemory;
use crate::timers::Timers;
use crate::waker::Waker;

/// What a device can do to the world outside of it. Each verb of a
/// [`Device`](crate::Device) is given one.
#[derive(Debug)]
pub struct Bus {
    pub(crate) config: ConfigSpace,
    pub(crate) interrupts: Interrupts,
    pub(crate) memory: DmaSpace,
    pub(crate) dma: DmaQueue,
    pub(crate) timers: Timers,
    /// What the device waits for, besides its timers.
    pub(crate) awaited: Option<Waker>,
    /// Whether there is a client, and so a guest.
    pub(crate) connected: bool,
    pub(crate) shared: [Option<SharedMemory>; BAR_COUNT],
}

/// Guest memory as a device reaches it: accesses that are started here and end later.
///
/// This is the part of a [`Bus`] that code which reads structures in guest memory needs (a
/// virtqueue, say), so that it can be tried against any memory.
pub trait GuestMemory {
    /// As [`Bus::dma_read`].
    ///
    /// # Errors
    /// As there.
    fn dma_read(&mut self, address: u64, length: usize, tag: u64) -> Result<(), Rejected>;

    /// As [`Bus::dma_write`].
    ///
    /// # Errors
    /// As there.
    fn dma_write(&mut self, address: u64, data: Vec<u8>, tag: u64) -> Result<(), Rejected>;

    /// As [`Bus::dma_scatter`].
    ///
    /// # Errors
    /// As there.
    fn dma_scatter(
        &mut self,
        segments: Vec<Segment>,
        data: Vec<u8>,
        tag: u64,
    ) -> Result<(), Rejected>;
}

impl GuestMemory for Bus {
    fn dma_read(&mut self, address: u64, length: usize, tag: u64) -> Result<(), Rejected> {
        Bus::dma_read(self, address, length, tag)
    }

    fn dma_write(&mut self, address: u64, data: Vec<u8>, tag: u64) -> Result<(), Rejected> {
        Bus::dma_write(self, address, data, tag)
    }

    fn dma_scatter(
        &mut self,
        segments: Vec<Segment>,
        data: Vec<u8>,
        tag: u64,
    ) -> Result<(), Rejected> {
        Bus::dma_scatter(self, segments, data, tag)
    }
}

impl Bus {
    /// A bus for a device of that description, which has been checked.
    pub(crate) fn new(description: &Description) -> std::io::Result<Self> {
        let mut shared: [Option<SharedMemory>; BAR_COUNT] = Default::default();
        for (slot, bar) in shared.iter_mut().zip(&description.bars) {
            if let Some(bar) = bar.as_ref().filter(|bar| !bar.mappable.is_empty()) {
                *slot = Some(SharedMemory::new(bar.size)?);
            }
        }
        Ok(Bus {
            config: ConfigSpace::new(description),
            interrupts: Interrupts::new(description),
            memory: DmaSpace::default(),
            dma: DmaQueue::default(),
            timers: Timers::default(),
            awaited: None,
            connected: false,
            shared,
        })
    }

    /// Drives the interrupt pin INTA#. It is level-triggered: the guest is interrupted until the
    /// device takes it back. Without an interrupt pin nothing happens, and a driver that uses MSI or
    /// MSI-X does not see it.
    pub fn set_interrupt_pin(&mut self, asserted: bool) {
        self.interrupts.set_pin(asserted, &self.config);
    }

    /// Raises a vector of MSI or MSI-X, whichever the driver has enabled. While the driver has it
    /// masked it stays pending; while neither is enabled nothing happens.
    ///
    /// A driver may allow fewer MSI vectors than the device has, often a single one. It then finds
    /// the others among those, by the low bits of their numbers.
    pub fn raise(&mut self, vector: u16) {
        self.interrupts.raise(vector, &self.config);
    }

    /// Takes all interrupts back: the pin, and vectors that are pending behind a mask.
    pub fn clear_interrupts(&mut self) {
        self.interrupts.clear();
    }

    /// Whether the driver uses MSI or MSI-X, so that [`Bus::raise`] is the way to interrupt it; else
    /// it is [`Bus::set_interrupt_pin`].
    pub fn messages_enabled(&self) -> bool {
        self.interrupts.messages_enabled(&self.config)
    }

    /// Whether the driver uses MSI-X, for devices whose registers depend on that.
    pub fn msix_enabled(&self) -> bool {
        self.interrupts.msix_enabled(&self.config)
    }

    /// Starts to read `length` bytes of guest memory at the address that the driver has given to
    /// the device. The bytes come with [`Device::dma_done`](crate::Device::dma_done) and `tag`,
    /// after the present verb has returned.
    ///
    /// # Errors
    /// [`DmaError::TooLong`], [`DmaError::QueueFull`], and [`DmaError::Disconnected`] while there is
    /// no guest; everything else comes with `dma_done`.
    pub fn dma_read(&mut self, address: u64, length: usize, tag: u64) -> Result<(), Rejected> {
        if !self.connected {
            return Err(Rejected { error: DmaError::Disconnected, data: Vec::new() });
        }
        self.dma.read(address, length, tag)
    }

    /// Starts to write `data` to guest memory. That it is done comes with
    /// [`Device::dma_done`](crate::Device::dma_done) and `tag`.
    ///
    /// # Errors
    /// As [`Bus::dma_read`]; the data comes back with the error.
    pub fn dma_write(&mut self, address: u64, data: Vec<u8>, tag: u64) -> Result<(), Rejected> {
        if !self.connected {
            return Err(Rejected { error: DmaError::Disconnected, data });
        }
        self.dma.write(address, data, tag)
    }

    /// Starts to write `data` to several places, each of which takes as many bytes as it holds;
    /// what does not fit is not written. The guest sees the places change in their order, and when
    /// one cannot be written those after it stay as they are. That all of it is done comes with
    /// [`Device::dma_done`](crate::Device::dma_done) and `tag`.
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
        self.dma.scatter(segments, data, tag)
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

    /// Lets [`Device::timer`](crate::Device::timer) be called with `id` once, after that time, or
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

    /// Lets [`Device::woken`](crate::Device::woken) be called once, after the waker was used. There
    /// is one wait; another one takes its place.
    pub fn wait_for(&mut self, waker: &Waker) {
        self.awaited = Some(waker.clone());
    }

    /// Ends the wait. What the waker was used for until then is not forgotten.
    pub fn stop_waiting(&mut self) {
        self.awaited = None;
    }

    /// The memory behind a BAR with mappable parts, which the guest writes to without the device
    /// hearing of it.
    pub fn shared_memory(&self, bar: usize) -> Option<&SharedMemory> {
        self.shared.get(bar)?.as_ref()
    }

    /// The client has gone: with it go its memory, its descriptors, and what its guest has written
    /// to PCI. The interrupt pin keeps its level, which is the device's.
    pub(crate) fn disconnect(&mut self) {
        self.connected = false;
        self.config.reset();
        self.interrupts.disconnect();
        self.interrupts.table.reset();
        self.memory.disconnect();
    }

    /// The device will never be called again: nothing is under way any more.
    pub(crate) fn fall_silent(&mut self) {
        self.interrupts.clear();
        self.dma.clear();
        self.timers.clear();
        self.awaited = None;
    }

    /// Everything that a reset takes back outside of the device itself.
    pub(crate) fn reset(&mut self) {
        self.config.reset();
        self.interrupts.reset();
        self.dma.clear();
        self.timers.clear();
        self.awaited = None;
    }
}
