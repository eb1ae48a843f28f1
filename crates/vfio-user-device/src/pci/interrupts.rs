//! Interrupts on their way to the guest: one pin with a level, and vectors with edges, which travel
//! as messages (MSI or MSI-X).
//!
//! An interrupt leaves the server by an eventfd that the client has assigned. Between the device
//! that raises it and that eventfd stand the masks: of PCI (interrupt disable, MSI-X function
//! mask, the table's mask bits) and of VFIO (MASK and UNMASK, and the pin's automatic mask).

mod state;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;

use super::intx::Intx;
use super::msi::MsiVectors;
use crate::eventfd::EventFd;
use crate::pci::config::DeviceConfig;
use crate::pci::irq_index::IrqIndex;
use crate::pci::{ConfigSpace, MsixTable};
use crate::recording::{PinChange, Recorder};

pub(crate) use state::InterruptState;

/// Which of the two kinds of messages the driver uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MsiKind {
    Msi,
    Msix,
}

/// All interrupts of a device.
#[derive(Debug)]
pub(crate) struct Interrupts {
    intx: Intx,
    msi: MsiVectors,
    msix: MsiVectors,
    pub table: MsixTable,
    error: Option<EventFd>,
    request: Option<EventFd>,
    pub recorder: Recorder,
}

impl Interrupts {
    /// Those of a device of that config.
    pub fn new(config: &DeviceConfig) -> Self {
        let msix_vectors = config.msix.map_or(0, |msix| msix.vectors);
        Interrupts {
            intx: Intx::new(config.interrupt_pin),
            msi: MsiVectors::new(config.msi.unwrap_or(0)),
            msix: MsiVectors::new(msix_vectors),
            table: MsixTable::new(msix_vectors),
            error: None,
            request: None,
            recorder: Recorder::default(),
        }
    }

    /// Number of vectors of an index.
    pub fn count(&self, index: IrqIndex) -> u32 {
        let count = match index {
            IrqIndex::Intx => usize::from(self.intx.present()),
            IrqIndex::Msi => self.msi.count(),
            IrqIndex::Msix => self.msix.count(),
            IrqIndex::Error | IrqIndex::Request => 1,
        };
        // Created from a u16.
        u32::try_from(count).unwrap_or(0)
    }

    /// The level of the pin as the driver sees it: while it uses messages there is none.
    pub fn intx_asserted(&self, config: &ConfigSpace) -> bool {
        self.intx.asserted() && !self.msi_enabled(config)
    }

    /// Drives the pin.
    pub fn set_intx(&mut self, asserted: bool, config: &ConfigSpace) {
        self.drive_pin(asserted);
        self.fire_intx(config);
    }

    fn drive_pin(&mut self, asserted: bool) {
        if self.intx.asserted() != asserted && self.intx.present() {
            self.recorder.pin(if asserted { PinChange::Asserted } else { PinChange::Deasserted });
        }
        self.intx.drive(asserted);
    }

    /// Raises a vector. Without an eventfd or while it is masked it stays pending. While the driver
    /// uses no messages nothing can stay.
    pub fn signal_vector(&mut self, vector: u16, config: &ConfigSpace) {
        let vector = usize::from(vector);
        match self.msi_in_use(config) {
            Some(MsiKind::Msix) => {
                let (table, masked) = (&self.table, config.msix_function_masked());
                if self.msix.signal_vector(vector, |vector| masked || table.masked(vector)) {
                    self.recorder.interrupt(IrqIndex::Msix, vector);
                }
            }
            Some(MsiKind::Msi) if vector < self.msi.count() => {
                // A driver may allow fewer vectors than there are, always a power of two. It then
                // gets the low bits of the number, as from a card that puts them into the message.
                let allowed = config.msi_vectors_allowed().unwrap_or(self.msi.count());
                let vector = vector % allowed.max(1);
                if self.msi.signal_vector(vector, |_| false) {
                    self.recorder.interrupt(IrqIndex::Msi, vector);
                }
            }
            Some(MsiKind::Msi) => {}
            None => {
                self.msi.clear();
                self.msix.clear();
            }
        }
    }

    /// What vectors reach the driver by. A client that uses the kernel's interface alone enables
    /// MSI or MSI-X by assigning eventfds. A driver enables one of them at most; if it breaks that
    /// rule it has MSI-X.
    fn msi_in_use(&self, config: &ConfigSpace) -> Option<MsiKind> {
        if config.msix_enabled() || self.msix.any_assigned() {
            Some(MsiKind::Msix)
        } else if config.msi_vectors_allowed().is_some() || self.msi.any_assigned() {
            Some(MsiKind::Msi)
        } else {
            None
        }
    }

    /// Whether vectors reach the driver.
    pub fn msi_enabled(&self, config: &ConfigSpace) -> bool {
        self.msi_in_use(config).is_some()
    }

    /// Whether they do by MSI-X.
    pub fn msix_enabled(&self, config: &ConfigSpace) -> bool {
        self.msi_in_use(config) == Some(MsiKind::Msix)
    }

    /// To be called when a mask has changed: what waited behind it fires now.
    pub fn masks_changed(&mut self, config: &ConfigSpace) {
        self.fire_intx(config);
        self.fire_pending(config);
    }

    fn fire_intx(&mut self, config: &ConfigSpace) {
        let enabled = !config.interrupt_disabled() && !self.msi_enabled(config);
        if enabled && self.intx.fire() {
            self.recorder.interrupt(IrqIndex::Intx, 0);
        }
    }

    fn fire_pending(&mut self, config: &ConfigSpace) {
        let recorder = &self.recorder;
        self.msi.fire(|_| false, |vector| recorder.interrupt(IrqIndex::Msi, vector));
        if !config.msix_function_masked() {
            let table = &self.table;
            let fired = |vector| recorder.interrupt(IrqIndex::Msix, vector);
            self.msix.fire(|vector| table.masked(vector), fired);
        }
    }

    /// The pending bit array of MSI-X, from `offset` bytes on.
    pub fn read_pending(&self, offset: usize, data: &mut [u8]) {
        self.msix.read_pending(offset, data);
    }

    /// Assigns eventfds to the vectors from `start` on; `None` takes one away.
    ///
    /// # Errors
    /// What fcntl(2) says of a descriptor.
    pub fn assign(
        &mut self,
        index: IrqIndex,
        start: usize,
        fds: impl Iterator<Item = Option<OwnedFd>>,
        config: &ConfigSpace,
    ) -> Result<(), Errno> {
        // All or none: nothing has changed if one of them is not good.
        let eventfds = fds.map(|fd| fd.map(EventFd::from_client).transpose());
        let eventfds = eventfds.collect::<Result<Vec<_>, Errno>>()?;
        for (vector, eventfd) in (start..).zip(eventfds) {
            match index {
                IrqIndex::Intx => self.intx.assign(eventfd),
                IrqIndex::Msi => self.msi.assign(vector, eventfd),
                IrqIndex::Msix => self.msix.assign(vector, eventfd),
                IrqIndex::Error => self.error = eventfd,
                IrqIndex::Request => self.request = eventfd,
            }
        }
        self.masks_changed(config);
        Ok(())
    }

    /// Sets what the client signals to unmask the pin.
    ///
    /// # Errors
    /// What fcntl(2) says of the descriptor.
    pub fn assign_unmask(&mut self, fd: Option<OwnedFd>) -> Result<(), Errno> {
        self.intx.assign_unmask(fd)
    }

    /// The descriptor to wait on for the client to unmask the pin.
    pub fn unmask_fd(&self) -> Option<BorrowedFd<'_>> {
        self.intx.unmask_fd()
    }

    /// The unmask descriptor may have been signalled. To be asked before the socket is read: what the
    /// client sent ahead of the signal is then among the messages that are found.
    pub fn take_unmask(&mut self, now: Instant) {
        self.intx.take_unmask(now);
    }

    /// When [`Interrupts::settle`] has something to do, if it has.
    pub fn settles_at(&self) -> Option<Instant> {
        self.intx.settles_at()
    }

    /// An unmasked pin fires again if it is still asserted by now; `quiet` says that no message of
    /// the client waits, which could take it back.
    pub fn settle(&mut self, now: Instant, quiet: bool, config: &ConfigSpace) {
        self.intx.settle(now, quiet);
        self.fire_intx(config);
    }

    /// Masks one vector.
    pub fn mask(&mut self, index: IrqIndex, vector: usize) {
        match index {
            IrqIndex::Intx => self.intx.mask(),
            IrqIndex::Msi => self.msi.set_masked(vector, true),
            IrqIndex::Msix => self.msix.set_masked(vector, true),
            IrqIndex::Error | IrqIndex::Request => {}
        }
    }

    /// Unmasks one vector. The pin's level decides a little later whether it fires again.
    pub fn unmask(&mut self, index: IrqIndex, vector: usize, now: Instant) {
        match index {
            IrqIndex::Intx => self.intx.unmask(now),
            IrqIndex::Msi => self.msi.set_masked(vector, false),
            IrqIndex::Msix => self.msix.set_masked(vector, false),
            IrqIndex::Error | IrqIndex::Request => {}
        }
    }

    /// Signals a vector's eventfd, as a client may ask for to test its wiring.
    pub fn signal(&self, index: IrqIndex, vector: usize) {
        let eventfd = match index {
            IrqIndex::Intx => self.intx.trigger(),
            IrqIndex::Msi => self.msi.eventfd(vector),
            IrqIndex::Msix => self.msix.eventfd(vector),
            IrqIndex::Error => self.error.as_ref(),
            IrqIndex::Request => self.request.as_ref(),
        };
        if let Some(eventfd) = eventfd {
            eventfd.interrupt();
            self.recorder.interrupt(index, vector);
        }
    }

    /// Takes all eventfds of an index away, and its masks with them.
    pub fn disable(&mut self, index: IrqIndex) {
        match index {
            IrqIndex::Intx => self.intx.disable(),
            IrqIndex::Msi => self.msi.disable(),
            IrqIndex::Msix => self.msix.disable(),
            IrqIndex::Error => self.error = None,
            IrqIndex::Request => self.request = None,
        }
    }

    /// The client is gone, and its eventfds and masks with it. The pin keeps its level.
    pub fn disconnect(&mut self) {
        IrqIndex::ALL.into_iter().for_each(|index| self.disable(index));
    }

    /// Nothing is asserted or pending any more.
    pub fn clear(&mut self) {
        self.drive_pin(false);
        self.msi.clear();
        self.msix.clear();
    }

    /// The device was reset: nothing is asserted or pending, the table is at power-on.
    pub fn reset(&mut self) {
        self.clear();
        self.table.reset();
    }
}

#[cfg(test)]
mod tests;
