//! A device together with everything PCI around it, as regions that can be read and written.
//!
//! This is what outlives a client. It knows nothing of sockets: a session, a test bench and a fuzz
//! target drive it alike.

use std::fmt;
use std::ops::Range;
use std::time::Instant;

use log::Level;

use crate::bus::Bus;
use crate::description::{Bar, Description, DescriptionError};
use crate::device::{Access, Device, Width};
use crate::dma::DmaDone;
use crate::panics;
use crate::pci;
use crate::waker::Waker;
use crate::wire::CONFIG_REGION;
use crate::words::{Bytes, Misfit, RegisterName};

/// How many accesses that fit no register are logged for one client where only information is asked
/// for: a guest could fill a disk with them.
const MISFIT_LINES: u32 = 10;

/// Why a device cannot be hosted.
#[derive(thiserror::Error)]
pub enum HostError {
    /// Its description is impossible.
    #[error("the device cannot exist")]
    Description(#[from] DescriptionError),
    /// Memory for its mappable BARs cannot be had.
    #[error("no memory for a mappable BAR")]
    Memory(#[from] std::io::Error),
}

/// In words, because a test's `unwrap` shows this.
impl fmt::Debug for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::Description(source) => write!(f, "{self}: {source}"),
            HostError::Memory(source) => write!(f, "{self}: {source}"),
        }
    }
}

/// A device, its configuration space, its interrupts and its guest's memory.
pub(crate) struct Host {
    device: Box<dyn Device>,
    pub description: Description,
    pub bus: Bus,
    on_panic: OnPanic,
    /// What the device said when it panicked. It plays dead since.
    panic: Option<String>,
    /// Accesses of the present client that fitted no register, as far as they were counted.
    misfits: u32,
}

/// What becomes of a panic of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnPanic {
    /// The device plays dead: its guest finds it gone, and goes on.
    PlayDead,
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

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("description", &self.description).finish_non_exhaustive()
    }
}

impl Host {
    pub fn new(device: Box<dyn Device>, on_panic: OnPanic) -> Result<Self, HostError> {
        let description = device.describe();
        description.check()?;
        let bus = Bus::new(&description)?;
        Ok(Host { device, description, bus, on_panic, panic: None, misfits: 0 })
    }

    /// What the device said when it panicked, if it has.
    pub fn panic(&self) -> Option<&str> {
        self.panic.as_deref()
    }

    /// Calls the device; `dead` is what comes of it when the device plays dead.
    fn call<R>(&mut self, dead: R, callback: impl FnOnce(&mut dyn Device, &mut Bus) -> R) -> R {
        if self.panic.is_some() {
            return dead;
        }
        if self.on_panic == OnPanic::Propagate {
            return callback(&mut *self.device, &mut self.bus);
        }
        panics::caught(|| callback(&mut *self.device, &mut self.bus)).unwrap_or_else(|panic| {
            log::error!(
                "the device panicked at {panic}. It plays dead from now on: reads give all ones, \
                 writes are ignored. To go on, correct the device and start this program again, \
                 then attach it anew (in QEMU: device_del, device_add)"
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
        self.description.bars.get(usize::try_from(region).ok()?)?.as_ref()
    }

    /// Reads from a region. The range lies within it.
    pub fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) {
        // No bytes of the window to the BARs are no access through it.
        if data.is_empty() {
            return;
        }
        if region == CONFIG_REGION {
            if let Ok(start) = usize::try_from(offset) {
                let range = start..start.saturating_add(data.len());
                self.read_through_window(&range);
                let pin = self.bus.interrupts.pin_asserted(&self.bus.config);
                self.bus.config.read(range, pin, data);
            }
            return;
        }
        if self.panic.is_some() {
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
                self.bus.config.write(start, data);
                self.bus.interrupts.masks_changed(&self.bus.config);
                self.write_through_window(&(start..start.saturating_add(data.len())));
            }
            return;
        }
        if self.panic.is_some() {
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
    /// the BAR allows, and who answers it. Windows begin and end at multiples of 8 bytes, so an
    /// aligned access lies in one of them. `None` when nothing is left.
    fn next_access(&self, region: u32, position: u64, left: usize) -> Option<(Window, Access)> {
        let index = usize::try_from(region).ok()?;
        let bar = self.description.bars.get(index)?.as_ref()?;
        let fits = |width: &Width| {
            *width <= bar.widest && width.bytes() <= left && position % width.bytes() as u64 == 0
        };
        let width = Width::DESCENDING.into_iter().find(fits)?;
        let msix = self.description.msix.as_ref().filter(|msix| msix.bar == index);
        let window = if msix.is_some_and(|msix| msix.table_range().contains(&position)) {
            Window::MsixTable
        } else if msix.is_some_and(|msix| msix.pba_range().contains(&position)) {
            Window::MsixPending
        } else if bar.mappable.iter().any(|part| part.contains(&position)) {
            Window::Shared
        } else {
            Window::Device
        };
        Some((window, Access { bar: index, offset: position, width }))
    }

    /// Offset of an access from the start of the MSI-X table, or of the pending bits.
    fn msix_offset(&self, window: Window, access: Access) -> usize {
        let start = self.description.msix.as_ref().map_or(0, |msix| match window {
            Window::MsixTable => msix.table,
            _ => msix.pba,
        });
        usize::try_from(access.offset - start).unwrap_or(usize::MAX)
    }

    fn read_window(&mut self, window: Window, access: Access, data: &mut [u8]) {
        match window {
            Window::Device => {
                self.log_misfit("read", access);
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
                self.log_misfit("write", access);
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

    /// Name of what an access is for, for people.
    fn name(&self, access: Access) -> RegisterName<'_> {
        let bar = self.description.bars.get(access.bar).and_then(Option::as_ref);
        RegisterName { access, bar }
    }

    /// Tells a driver's author of an access that fits no register: what the device makes of it is
    /// its own affair, and hardly what was meant.
    fn log_misfit(&mut self, verb: &str, access: Access) {
        let level = if self.misfits < MISFIT_LINES { Level::Info } else { Level::Debug };
        if !log::log_enabled!(level) {
            return;
        }
        let Some(bar) = self.description.bars.get(access.bar).and_then(Option::as_ref) else {
            return;
        };
        let Some(misfit) = Misfit::find(bar, access) else {
            return;
        };
        self.misfits = self.misfits.saturating_add(1);
        let last =
            if self.misfits == MISFIT_LINES { " (more of these with debug only)" } else { "" };
        let Access { bar, offset, width } = access;
        let width = Bytes(width.bytes() as u64);
        log::log!(level, "BAR {bar}: {verb} of {width} at {offset:#x}: {misfit}{last}");
    }

    /// Resets the device and all of PCI around it.
    pub fn reset(&mut self) {
        self.bus.reset();
        self.call((), |device, bus| device.reset(bus));
    }

    /// Lets the timer that is due first fire, if it is due by now. Returns false if none is.
    pub fn fire_timer(&mut self, now: Instant) -> bool {
        let Some(id) = self.bus.timers.take_due(now) else {
            return false;
        };
        self.call((), |device, bus| device.timer(bus, id));
        true
    }

    /// Tells the device that the waker it waits for was used, if it was.
    pub fn take_wake_up(&mut self) {
        if self.bus.awaited.as_ref().is_some_and(Waker::take) {
            self.bus.awaited = None;
            self.call((), |device, bus| device.woken(bus));
        }
    }

    /// Tells the device that an access to guest memory is done.
    pub fn dma_done(&mut self, done: DmaDone) {
        self.bus.memory.drop_private_mappings();
        self.call((), |device, bus| device.dma_done(bus, done));
    }

    /// The client is gone: its memory, its descriptors and its PCI configuration go, accesses that
    /// waited for it fail. The device's own state is the device's to keep.
    pub fn disconnect(&mut self) {
        self.misfits = 0;
        self.bus.disconnect();
        for done in self.bus.dma.disconnect() {
            self.dma_done(done);
        }
        self.call((), |device, bus| device.disconnected(bus));
    }
}
