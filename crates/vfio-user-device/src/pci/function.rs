//! A device together with everything PCI around it, as regions that can be read and written.
//!
//! This is what outlives a client. It knows nothing of sockets: a session, a test bench and a fuzz
//! target drive it alike.

mod kept;
mod migration;
mod mismatch;
mod state;

use std::fmt;
use std::ops::Range;
use std::time::Instant;

use crate::access::{Access, Width};
use crate::bus::Bus;
use crate::device::Device;
use crate::memory::{DmaCompletion, Ended, Owner};
use crate::migration::MigrationState;
use crate::pci;
use crate::pci::config::{Bar, ConfigError, DeviceConfig};
use crate::pci::panics;
use crate::protocol::wire::CONFIG_REGION;
use crate::waker::Waker;

use migration::Migration;
pub(crate) use migration::MigrationError;
pub(crate) use state::FunctionState;

/// Why a device cannot be hosted.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum FunctionError {
    /// Its configuration is impossible.
    #[error("invalid device configuration")]
    Config(#[from] ConfigError),
    /// Memory for its mappable BARs cannot be had.
    #[error("no memory for a mappable BAR")]
    Memory(#[from] std::io::Error),
}

/// In words, because a test's `unwrap` shows this.
impl fmt::Debug for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FunctionError::Config(source) => write!(f, "{self}: {source}"),
            FunctionError::Memory(source) => write!(f, "{self}: {source}"),
        }
    }
}

/// A device, its configuration space, its interrupts and its guest's memory.
pub(crate) struct PciFunction {
    pub device: Box<dyn Device>,
    pub config: DeviceConfig,
    pub bus: Box<Bus>,
    /// Takes the bus's place while tasks have that.
    pub spare: Option<Box<Bus>>,
    on_panic: OnPanic,
    /// Place and message of the device's panic, which has disabled it.
    panic: Option<String>,
    /// Accesses of the present client that fitted no register, as far as they were counted.
    mismatches: u32,
    migration: Migration,
    /// The device's code was run since its state was kept.
    touched: bool,
}

/// What becomes of a panic of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnPanic {
    /// The device is disabled: its registers read as all ones, and its guest goes on.
    Disable,
    /// It goes on to the caller, which is a test.
    Propagate,
}

/// What answers a part of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Window {
    Device,
    Shared,
    MsixTable,
    MsixPending,
}

impl fmt::Debug for PciFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciFunction").field("config", &self.config).finish_non_exhaustive()
    }
}

impl PciFunction {
    pub fn new(device: Box<dyn Device>, on_panic: OnPanic) -> Result<Self, FunctionError> {
        let config = device.config();
        config.validate()?;
        let bus = Box::new(Bus::new(&config)?);
        Ok(PciFunction {
            device,
            config,
            bus,
            spare: None,
            on_panic,
            panic: None,
            mismatches: 0,
            migration: Migration::default(),
            touched: true,
        })
    }

    /// What the device said when it panicked, if it has.
    pub fn panic(&self) -> Option<&str> {
        self.panic.as_deref()
    }

    /// Calls the device; `dead` is the result when the device is disabled.
    fn call<R>(&mut self, dead: R, callback: impl FnOnce(&mut dyn Device, &mut Bus) -> R) -> R {
        self.guarded(dead, |function| callback(&mut *function.device, &mut function.bus))
    }

    /// Runs code of the device; `dead` is the result when the device is disabled.
    pub fn guarded<R>(&mut self, dead: R, code: impl FnOnce(&mut Self) -> R) -> R {
        if self.panic.is_some() {
            return dead;
        }
        if self.on_panic == OnPanic::Propagate {
            return code(self);
        }
        self.set_inside(true);
        let result = panics::caught(|| code(&mut *self));
        self.set_inside(false);
        result.unwrap_or_else(|panic| {
            log::error!(
                "the device panicked at {panic}. It is disabled: its reads return all ones, \
                 its writes are ignored. Correct the device, start this program again, and attach \
                 the device anew (in QEMU: device_del, device_add)"
            );
            self.panic = Some(panic);
            self.bus.fall_silent();
            dead
        })
    }

    /// Size of a region in bytes; 0 for one that the device does not have.
    pub fn region_size(&self, region: u32) -> u64 {
        if region == CONFIG_REGION {
            return pci::CONFIG_SIZE;
        }
        self.bar(region).map_or(0, |bar| bar.size)
    }

    pub fn bar(&self, region: u32) -> Option<&Bar> {
        self.config.bars.get(usize::try_from(region).ok()?)?.as_ref()
    }

    /// Reads from a region. The range lies within it.
    pub fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) {
        // No bytes of the window to the BARs are no access through it.
        if data.is_empty() {
            return;
        }
        if region == CONFIG_REGION {
            if let Ok(start) = usize::try_from(offset) {
                self.read_through_window(&(start..start.saturating_add(data.len())));
                // What it is without the device.
                self.bus.config_read(start, data);
                if !self.bus.stopped {
                    self.call((), |device, bus| device.config_read(bus, start, data));
                }
            }
            return;
        }
        if self.panic.is_some() || self.bus.stopped {
            return data.fill(0xff);
        }
        let mut rest = data;
        let mut position = offset;
        while let Some((window, access)) = self.next_access(region, position, rest.len()) {
            let (piece, tail) = rest.split_at_mut(access.width.bytes().min(rest.len()));
            self.read_window(window, access, piece);
            position += access.width.bytes() as u64;
            rest = tail;
        }
    }

    /// Writes to a region. The range lies within it.
    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        if region == CONFIG_REGION {
            if let Ok(start) = usize::try_from(offset) {
                if self.panic.is_some() || self.bus.stopped {
                    self.bus.config_write(start, data);
                } else {
                    self.call((), |device, bus| device.config_write(bus, start, data));
                }
                self.write_through_window(&(start..start.saturating_add(data.len())));
            }
            return;
        }
        if self.panic.is_some() || self.bus.stopped {
            return;
        }
        let mut rest = data;
        let mut position = offset;
        while let Some((window, access)) = self.next_access(region, position, rest.len()) {
            let (piece, tail) = rest.split_at(access.width.bytes().min(rest.len()));
            self.write_window(window, access, piece);
            position += access.width.bytes() as u64;
            rest = tail;
        }
    }

    /// If a range of configuration space is read that holds the window to the BARs: fetches what
    /// the window shows.
    fn read_through_window(&mut self, range: &Range<usize>) {
        let Some(target) = self.window_target(range) else { return };
        let mut value = [0; 4];
        if let Some(value) = value.get_mut(..target.length) {
            self.read(target.bar, target.offset, value);
            self.bus.config.bytes_mut(target.data).copy_from_slice(value);
        }
    }

    /// If that window was written: passes it on.
    fn write_through_window(&mut self, range: &Range<usize>) {
        let Some(target) = self.window_target(range) else { return };
        let mut value = [0; 4];
        if let Some(value) = value.get_mut(..target.length) {
            value.copy_from_slice(self.bus.config.bytes_mut(target.data));
            self.write(target.bar, target.offset, value);
        }
    }

    fn window_target(&self, range: &Range<usize>) -> Option<pci::WindowTarget> {
        let target = self.bus.config.window_target(range)?;
        let end = target.offset + target.length as u64;
        (end <= self.region_size(target.bar)).then_some(target)
    }

    /// The widest naturally aligned access at `position` that is not longer than `left` and that
    /// the BAR allows, and what answers it. Windows begin and end at multiples of 8 bytes, so an
    /// aligned access lies in one of them. `None` when nothing is left.
    fn next_access(&self, region: u32, position: u64, left: usize) -> Option<(Window, Access)> {
        let index = usize::try_from(region).ok()?;
        let bar = self.config.bars.get(index)?.as_ref()?;
        let fits = |width: &Width| {
            *width <= bar.max_access_width
                && width.bytes() <= left
                && position % width.bytes() as u64 == 0
        };
        let width = Width::DESCENDING.into_iter().find(fits)?;
        let msix = self.config.msix.as_ref().filter(|msix| msix.bar == index);
        let window = if msix.is_some_and(|msix| msix.table_range().contains(&position)) {
            Window::MsixTable
        } else if msix.is_some_and(|msix| msix.pba_range().contains(&position)) {
            Window::MsixPending
        } else if bar.mmap_areas.iter().any(|part| part.contains(&position)) {
            Window::Shared
        } else {
            Window::Device
        };
        Some((window, Access { bar: index, offset: position, width }))
    }

    /// Offset of an access from the start of the MSI-X table, or of the pending bits.
    fn msix_offset(&self, window: Window, access: Access) -> usize {
        let start = self.config.msix.as_ref().map_or(0, |msix| match window {
            Window::MsixTable => msix.table,
            _ => msix.pba,
        });
        usize::try_from(access.offset - start).unwrap_or(usize::MAX)
    }

    fn read_window(&mut self, window: Window, access: Access, data: &mut [u8]) {
        match window {
            Window::Device => {
                self.log_mismatch("read", access);
                let value = self.call(u64::MAX, |device, bus| device.read(bus, access));
                let value = value & access.width.mask();
                log::debug!("{} read {} -> {value:#x}", self.name(access), access.width);
                data.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
            }
            Window::Shared => match self.bus.shared_memory(access.bar) {
                Some(memory) => memory.read(access.offset, data),
                None => data.fill(0),
            },
            Window::MsixTable => {
                self.bus.interrupts.table.read(self.msix_offset(window, access), data);
            }
            Window::MsixPending => {
                self.bus.interrupts.read_pending(self.msix_offset(window, access), data);
            }
        }
    }

    fn write_window(&mut self, window: Window, access: Access, data: &[u8]) {
        match window {
            Window::Device => {
                let mut bytes = [0; 8];
                bytes.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
                let value = u64::from_le_bytes(bytes);
                self.log_mismatch("write", access);
                log::debug!("{} write {} <- {value:#x}", self.name(access), access.width);
                self.call((), |device, bus| device.write(bus, access, value));
            }
            Window::Shared => {
                if let Some(memory) = self.bus.shared_memory(access.bar) {
                    memory.write(access.offset, data);
                }
            }
            Window::MsixTable => {
                let offset = self.msix_offset(window, access);
                self.bus.interrupts.table.write(offset, data);
                self.bus.interrupts.masks_changed(&self.bus.config);
            }
            // Pending bits are the device's to change.
            Window::MsixPending => {}
        }
    }

    /// Resets the device and all of PCI around it.
    pub fn reset(&mut self) {
        self.end_migration();
        self.reset_device();
    }

    fn reset_device(&mut self) {
        self.bus.reset();
        self.call((), |device, bus| device.reset(bus));
    }

    /// Lets the timer that is due first fire, or a task wake up, if one is due by now. Returns false if none is.
    pub fn fire_timer(&mut self, now: Instant) -> bool {
        let Some(id) = self.bus.timers.take_due(now) else {
            let woken = self.bus.tasks.wake_sleeper(now);
            if woken {
                self.bus.recorder.timer(None);
            }
            return woken;
        };
        self.bus.recorder.timer(Some(id));
        self.call((), |device, bus| device.on_timer(bus, id));
        true
    }

    /// Tells the device that the waker it waits for was used, if it was.
    pub fn take_wake_up(&mut self) {
        if self.bus.stopped {
            return;
        }
        if let Some(tasks) = self.bus.tasks.session_waker() {
            tasks.take();
        }
        if self.bus.awaited.as_ref().is_some_and(Waker::take) {
            self.bus.awaited = None;
            self.bus.recorder.wake();
            self.call((), |device, bus| device.on_wake(bus));
        }
    }

    /// Tells the device, or its task, that an access to guest memory is done.
    pub fn dma_done(&mut self, Ended { owner, result }: Ended) {
        self.bus.memory.drop_private_mappings();
        match owner {
            Owner::Task(reply) => reply.give(result),
            Owner::Device(tag) => {
                let done = DmaCompletion { tag, result };
                self.call((), |device, bus| device.on_dma_complete(bus, done));
            }
        }
    }

    /// The client is gone: its memory, its descriptors and its PCI configuration go, accesses that
    /// waited for it fail. The device's own state is the device's to keep.
    pub fn disconnect(&mut self) {
        if self.migration_state() == MigrationState::Error {
            self.reset_device();
        }
        self.end_migration();
        self.mismatches = 0;
        self.bus.disconnect();
        for done in self.bus.dma.disconnect() {
            self.dma_done(done);
        }
        // They see that their accesses have failed, and end at their next wait.
        if self.bus.tasks.is_ready() {
            self.run_tasks();
        }
        self.bus.cancel_tasks();
        self.call((), |device, bus| device.on_disconnect(bus));
    }
}
