//! Interrupts on their way to the guest: one pin with a level, and vectors with edges, which travel
//! as messages (MSI or MSI-X).
//!
//! An interrupt leaves the server by an eventfd that the client has assigned. Between the device
//! that raises it and that eventfd stand the masks: of PCI (interrupt disable, MSI-X function
//! mask, the table's mask bits) and of VFIO (MASK and UNMASK, and the pin's automatic mask).

mod event;
mod messages;
mod pin;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;
use vfio_bindings::bindings::vfio as uapi;

use crate::description::Description;
use crate::pci::{ConfigSpace, MsixTable};
use crate::wire::IrqInfoFlags;
use event::EventFd;
use messages::Messages;
use pin::Pin;

/// The interrupt indexes of a PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum IrqIndex {
    Intx = uapi::VFIO_PCI_INTX_IRQ_INDEX,
    Msi = uapi::VFIO_PCI_MSI_IRQ_INDEX,
    Msix = uapi::VFIO_PCI_MSIX_IRQ_INDEX,
    Error = uapi::VFIO_PCI_ERR_IRQ_INDEX,
    Request = uapi::VFIO_PCI_REQ_IRQ_INDEX,
}

impl IrqIndex {
    const ALL: [IrqIndex; 5] =
        [IrqIndex::Intx, IrqIndex::Msi, IrqIndex::Msix, IrqIndex::Error, IrqIndex::Request];

    pub fn from_wire(index: u32) -> Option<IrqIndex> {
        Self::ALL.into_iter().find(|known| *known as u32 == index)
    }

    /// What a client may do with it. The pin's flags are those of the kernel's vfio-pci.
    pub fn flags(self) -> IrqInfoFlags {
        match self {
            IrqIndex::Intx => {
                IrqInfoFlags::EVENTFD | IrqInfoFlags::MASKABLE | IrqInfoFlags::AUTOMASKED
            }
            IrqIndex::Msi | IrqIndex::Msix => IrqInfoFlags::EVENTFD | IrqInfoFlags::MASKABLE,
            IrqIndex::Error | IrqIndex::Request => IrqInfoFlags::EVENTFD,
        }
    }
}

/// Which of the two kinds of messages the driver uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageKind {
    Msi,
    Msix,
}

/// All interrupts of a device.
#[derive(Debug)]
pub(crate) struct Interrupts {
    pin: Pin,
    msi: Messages,
    msix: Messages,
    pub table: MsixTable,
    error: Option<EventFd>,
    request: Option<EventFd>,
}

impl Interrupts {
    /// Those of a device of that description.
    pub fn new(description: &Description) -> Self {
        let msix_vectors = description.msix.map_or(0, |msix| msix.vectors);
        Interrupts {
            pin: Pin::new(description.interrupt_pin),
            msi: Messages::new(description.msi.unwrap_or(0)),
            msix: Messages::new(msix_vectors),
            table: MsixTable::new(msix_vectors),
            error: None,
            request: None,
        }
    }

    /// Number of vectors of an index.
    pub fn count(&self, index: IrqIndex) -> u32 {
        let count = match index {
            IrqIndex::Intx => usize::from(self.pin.present()),
            IrqIndex::Msi => self.msi.count(),
            IrqIndex::Msix => self.msix.count(),
            IrqIndex::Error | IrqIndex::Request => 1,
        };
        // Created from a u16.
        u32::try_from(count).unwrap_or(0)
    }

    /// The level of the pin as the driver sees it: while it uses messages there is none.
    pub fn pin_asserted(&self, config: &ConfigSpace) -> bool {
        self.pin.asserted() && !self.messages_enabled(config)
    }

    /// Drives the pin.
    pub fn set_pin(&mut self, asserted: bool, config: &ConfigSpace) {
        self.pin.drive(asserted);
        self.fire_pin(config);
    }

    /// Raises a vector. Without an eventfd or while it is masked it stays pending. While the driver
    /// uses no messages nothing can stay.
    pub fn raise(&mut self, vector: u16, config: &ConfigSpace) {
        let vector = usize::from(vector);
        match self.messages_in_use(config) {
            Some(MessageKind::Msix) => {
                let (table, masked) = (&self.table, config.msix_function_masked());
                self.msix.raise(vector, |vector| masked || table.masked(vector));
            }
            Some(MessageKind::Msi) if vector < self.msi.count() => {
                // A driver may allow fewer vectors than there are, always a power of two. It then
                // gets the low bits of the number, as from a card that puts them into the message.
                let allowed = config.msi_vectors_allowed().unwrap_or(self.msi.count());
                self.msi.raise(vector % allowed.max(1), |_| false);
            }
            Some(MessageKind::Msi) => {}
            None => {
                self.msi.clear();
                self.msix.clear();
            }
        }
    }

    /// What vectors reach the driver by. A client that uses the kernel's interface alone enables
    /// MSI or MSI-X by assigning eventfds. A driver enables one of them at most; if it breaks that
    /// rule it has MSI-X.
    fn messages_in_use(&self, config: &ConfigSpace) -> Option<MessageKind> {
        if config.msix_enabled() || self.msix.any_assigned() {
            Some(MessageKind::Msix)
        } else if config.msi_vectors_allowed().is_some() || self.msi.any_assigned() {
            Some(MessageKind::Msi)
        } else {
            None
        }
    }

    /// Whether vectors reach the driver.
    pub fn messages_enabled(&self, config: &ConfigSpace) -> bool {
        self.messages_in_use(config).is_some()
    }

    /// Whether they do by MSI-X.
    pub fn msix_enabled(&self, config: &ConfigSpace) -> bool {
        self.messages_in_use(config) == Some(MessageKind::Msix)
    }

    /// To be called when a mask has changed: what waited behind it fires now.
    pub fn masks_changed(&mut self, config: &ConfigSpace) {
        self.fire_pin(config);
        self.fire_pending(config);
    }

    fn fire_pin(&mut self, config: &ConfigSpace) {
        if !config.interrupt_disabled() && !self.messages_enabled(config) {
            self.pin.fire();
        }
    }

    fn fire_pending(&mut self, config: &ConfigSpace) {
        self.msi.fire(|_| false);
        if !config.msix_function_masked() {
            let table = &self.table;
            self.msix.fire(|vector| table.masked(vector));
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
        let eventfds = fds.map(|fd| fd.map(EventFd::new).transpose());
        let eventfds = eventfds.collect::<Result<Vec<_>, Errno>>()?;
        for (vector, eventfd) in (start..).zip(eventfds) {
            match index {
                IrqIndex::Intx => self.pin.assign(eventfd),
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
        self.pin.assign_unmask(fd)
    }

    /// The descriptor to wait on for the client to unmask the pin.
    pub fn unmask_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pin.unmask_fd()
    }

    /// The unmask descriptor may have been signalled. To be asked before the socket is read: what the
    /// client sent ahead of the signal is then among the messages that are found.
    pub fn take_unmask(&mut self, now: Instant) {
        self.pin.take_unmask(now);
    }

    /// When [`Interrupts::settle`] has something to do, if it has.
    pub fn settles_at(&self) -> Option<Instant> {
        self.pin.settles_at()
    }

    /// An unmasked pin fires again if it is still asserted by now; `quiet` says that no message of
    /// the client waits, which could take it back.
    pub fn settle(&mut self, now: Instant, quiet: bool, config: &ConfigSpace) {
        self.pin.settle(now, quiet);
        self.fire_pin(config);
    }

    /// Masks one vector.
    pub fn mask(&mut self, index: IrqIndex, vector: usize) {
        match index {
            IrqIndex::Intx => self.pin.mask(),
            IrqIndex::Msi => self.msi.set_masked(vector, true),
            IrqIndex::Msix => self.msix.set_masked(vector, true),
            IrqIndex::Error | IrqIndex::Request => {}
        }
    }

    /// Unmasks one vector. The pin's level decides a little later whether it fires again.
    pub fn unmask(&mut self, index: IrqIndex, vector: usize, now: Instant) {
        match index {
            IrqIndex::Intx => self.pin.unmask(now),
            IrqIndex::Msi => self.msi.set_masked(vector, false),
            IrqIndex::Msix => self.msix.set_masked(vector, false),
            IrqIndex::Error | IrqIndex::Request => {}
        }
    }

    /// Signals a vector's eventfd, as a client may ask for to test its wiring.
    pub fn signal(&self, index: IrqIndex, vector: usize) {
        let eventfd = match index {
            IrqIndex::Intx => self.pin.trigger(),
            IrqIndex::Msi => self.msi.eventfd(vector),
            IrqIndex::Msix => self.msix.eventfd(vector),
            IrqIndex::Error => self.error.as_ref(),
            IrqIndex::Request => self.request.as_ref(),
        };
        if let Some(eventfd) = eventfd {
            eventfd.signal();
        }
    }

    /// Takes all eventfds of an index away, and its masks with them.
    pub fn disable(&mut self, index: IrqIndex) {
        match index {
            IrqIndex::Intx => self.pin.disable(),
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
        self.pin.drive(false);
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
