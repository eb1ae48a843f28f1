//! Interrupts on their way to the guest: one pin with a level, and MSI-X vectors with edges.
//!
//! An interrupt leaves the server by an eventfd that the client has assigned. Between the device
//! that raises it and that eventfd stand the masks: of PCI (interrupt disable, MSI-X function
//! mask, the table's mask bits) and of VFIO (MASK and UNMASK, and the pin's automatic mask).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use vfio_bindings::bindings::vfio as uapi;

use crate::pci::{ConfigSpace, MsixTable};
use crate::wire::IrqInfoFlags;

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
    pub fn from_wire(index: u32) -> Option<IrqIndex> {
        [IrqIndex::Intx, IrqIndex::Msi, IrqIndex::Msix, IrqIndex::Error, IrqIndex::Request]
            .into_iter()
            .find(|known| *known as u32 == index)
    }

    /// What a client may do with it. The pin's flags are those of the kernel's vfio-pci.
    pub fn flags(self) -> IrqInfoFlags {
        match self {
            IrqIndex::Intx => {
                IrqInfoFlags::EVENTFD | IrqInfoFlags::MASKABLE | IrqInfoFlags::AUTOMASKED
            }
            IrqIndex::Msix => IrqInfoFlags::EVENTFD | IrqInfoFlags::MASKABLE,
            IrqIndex::Msi | IrqIndex::Error | IrqIndex::Request => IrqInfoFlags::EVENTFD,
        }
    }
}

/// The eventfd of one vector.
#[derive(Debug)]
struct EventFd(OwnedFd);

impl EventFd {
    /// Takes a client's descriptor. It has to be an eventfd, as the kernel's VFIO wants it too: a
    /// pipe could be full, and a file be readable for ever. It is made non-blocking, because a
    /// client could otherwise stop the server with one whose counter is full.
    fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let kind = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let kind = kind.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        if kind.as_os_str() != "anon_inode:[eventfd]" {
            return Err(Errno::INVAL);
        }
        let flags = fcntl_getfl(&fd)?;
        if !flags.contains(OFlags::NONBLOCK) {
            fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        }
        Ok(EventFd(fd))
    }

    fn signal(&self) {
        match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            // A full counter is a signalled one.
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(errno) => log::warn!("interrupt lost: writing to its eventfd: {errno}"),
        }
    }

    /// Takes a signal, if there is one.
    fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

/// The interrupt pin, level-triggered.
#[derive(Debug, Default)]
struct Pin {
    present: bool,
    /// The level that the device drives.
    asserted: bool,
    /// Set when it fires, cleared by the client's UNMASK.
    masked: bool,
    trigger: Option<EventFd>,
    /// Signalled by the client (or by KVM in its name) instead of an UNMASK message.
    unmask: Option<EventFd>,
}

/// One MSI-X vector.
#[derive(Debug, Default)]
struct Vector {
    eventfd: Option<EventFd>,
    masked: bool,
    pending: bool,
}

/// All interrupts of a device.
#[derive(Debug)]
pub(crate) struct Interrupts {
    pin: Pin,
    vectors: Vec<Vector>,
    pub table: MsixTable,
    error: Option<EventFd>,
    request: Option<EventFd>,
}

impl Interrupts {
    pub fn new(interrupt_pin: bool, vectors: u16) -> Self {
        Interrupts {
            pin: Pin { present: interrupt_pin, ..Pin::default() },
            vectors: (0..vectors).map(|_| Vector::default()).collect(),
            table: MsixTable::new(vectors),
            error: None,
            request: None,
        }
    }

    /// Number of vectors of an index.
    pub fn count(&self, index: IrqIndex) -> u32 {
        match index {
            IrqIndex::Intx => u32::from(self.pin.present),
            IrqIndex::Msi => 0,
            // Created from a u16.
            IrqIndex::Msix => u32::try_from(self.vectors.len()).unwrap_or(0),
            IrqIndex::Error | IrqIndex::Request => 1,
        }
    }

    /// The level of the pin as the driver sees it: a device with MSI-X enabled has none.
    pub fn pin_asserted(&self, config: &ConfigSpace) -> bool {
        self.pin.asserted && !self.msix_enabled(config)
    }

    /// Drives the pin.
    pub fn set_pin(&mut self, asserted: bool, config: &ConfigSpace) {
        self.pin.asserted = asserted;
        self.fire_pin(config);
    }

    /// Raises a vector. Without an eventfd or while it is masked it stays pending.
    pub fn raise(&mut self, vector: u16, config: &ConfigSpace) {
        if let Some(raised) = self.vectors.get_mut(usize::from(vector)) {
            raised.pending = true;
            self.fire_pending(config);
            if !self.msix_enabled(config) {
                self.vectors.iter_mut().for_each(|vector| vector.pending = false);
            }
        }
    }

    /// Whether vectors reach the driver. A client that uses the kernel's interface alone enables
    /// MSI-X by assigning eventfds.
    pub fn msix_enabled(&self, config: &ConfigSpace) -> bool {
        config.msix_enabled() || self.vectors.iter().any(|vector| vector.eventfd.is_some())
    }

    /// To be called when a mask has changed: what waited behind it fires now.
    pub fn masks_changed(&mut self, config: &ConfigSpace) {
        self.fire_pin(config);
        self.fire_pending(config);
    }

    fn fire_pin(&mut self, config: &ConfigSpace) {
        let asserted = self.pin_asserted(config);
        let pin = &mut self.pin;
        if asserted && !pin.masked && !config.interrupt_disabled() {
            if let Some(trigger) = &pin.trigger {
                pin.masked = true;
                trigger.signal();
            }
        }
    }

    fn fire_pending(&mut self, config: &ConfigSpace) {
        if config.msix_function_masked() {
            return;
        }
        for (number, vector) in self.vectors.iter_mut().enumerate() {
            if vector.pending && !vector.masked && !self.table.masked(number) {
                if let Some(eventfd) = &vector.eventfd {
                    vector.pending = false;
                    eventfd.signal();
                }
            }
        }
    }

    /// The pending bit array, from `offset` bytes on.
    pub fn read_pending(&self, offset: usize, data: &mut [u8]) {
        for (position, byte) in (offset..).zip(data) {
            let first = position.saturating_mul(8);
            *byte = self
                .vectors
                .iter()
                .skip(first)
                .take(8)
                .enumerate()
                .fold(0, |bits, (bit, vector)| bits | (u8::from(vector.pending) << bit));
        }
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
                IrqIndex::Intx => {
                    self.pin.masked = false;
                    self.pin.trigger = eventfd;
                }
                IrqIndex::Msix => {
                    if let Some(vector) = self.vectors.get_mut(vector) {
                        vector.eventfd = eventfd;
                    }
                }
                IrqIndex::Error => self.error = eventfd,
                IrqIndex::Request => self.request = eventfd,
                IrqIndex::Msi => {}
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
        self.pin.unmask = fd.map(EventFd::new).transpose()?;
        Ok(())
    }

    /// The descriptor to wait on for the client to unmask the pin.
    pub fn unmask_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pin.unmask.as_ref().map(|eventfd| eventfd.0.as_fd())
    }

    /// The unmask descriptor may have been signalled.
    pub fn unmask_signalled(&mut self, config: &ConfigSpace) {
        if self.pin.unmask.as_ref().is_some_and(EventFd::take) {
            self.pin.masked = false;
            self.fire_pin(config);
        }
    }

    /// Masks or unmasks one vector.
    pub fn set_masked(&mut self, index: IrqIndex, vector: usize, masked: bool) {
        match index {
            IrqIndex::Intx => self.pin.masked = masked,
            IrqIndex::Msix => {
                if let Some(vector) = self.vectors.get_mut(vector) {
                    vector.masked = masked;
                }
            }
            IrqIndex::Msi | IrqIndex::Error | IrqIndex::Request => {}
        }
    }

    /// Signals a vector's eventfd, as a client may ask for to test its wiring.
    pub fn signal(&self, index: IrqIndex, vector: usize) {
        let eventfd = match index {
            IrqIndex::Intx => self.pin.trigger.as_ref(),
            IrqIndex::Msix => self.vectors.get(vector).and_then(|vector| vector.eventfd.as_ref()),
            IrqIndex::Error => self.error.as_ref(),
            IrqIndex::Request => self.request.as_ref(),
            IrqIndex::Msi => None,
        };
        if let Some(eventfd) = eventfd {
            eventfd.signal();
        }
    }

    /// Takes all eventfds of an index away, and its masks with them.
    pub fn disable(&mut self, index: IrqIndex) {
        match index {
            IrqIndex::Intx => {
                self.pin.trigger = None;
                self.pin.unmask = None;
                self.pin.masked = false;
            }
            IrqIndex::Msix => {
                self.vectors.iter_mut().for_each(|vector| *vector = Vector::default())
            }
            IrqIndex::Error => self.error = None,
            IrqIndex::Request => self.request = None,
            IrqIndex::Msi => {}
        }
    }

    /// The client is gone, and its eventfds and masks with it. The pin keeps its level.
    pub fn disconnect(&mut self) {
        for index in [IrqIndex::Intx, IrqIndex::Msix, IrqIndex::Error, IrqIndex::Request] {
            self.disable(index);
        }
    }

    /// Nothing is asserted or pending any more.
    pub fn clear(&mut self) {
        self.pin.asserted = false;
        self.vectors.iter_mut().for_each(|vector| vector.pending = false);
    }

    /// The device was reset: nothing is asserted or pending, the table is at power-on.
    pub fn reset(&mut self) {
        self.clear();
        self.table.reset();
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::description::{Bar, Description, Identity, Msix};

    const MSIX_CONTROL: usize = 0x42;
    const COMMAND: usize = 0x04;

    fn parts() -> (Interrupts, ConfigSpace) {
        let description = Description::new(Identity::new(1, 2))
            .bar(0, Bar::memory32(4096))
            .interrupt_pin()
            .msix(Msix { vectors: 70, bar: 0, table: 0, pba: 0x800 });
        (Interrupts::new(true, 70), ConfigSpace::new(&description))
    }

    /// An eventfd and a copy of it for the server.
    fn event() -> (EventFd, Option<OwnedFd>) {
        let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let copy = fd.try_clone().unwrap();
        (EventFd(fd), Some(copy))
    }

    fn pending(interrupts: &Interrupts, vector: usize) -> bool {
        let mut bits = [0; 16];
        interrupts.read_pending(0, &mut bits);
        bits[vector / 8] & (1 << (vector % 8)) != 0
    }

    #[test]
    fn an_asserted_pin_fires_once_until_it_is_unmasked() {
        let (mut interrupts, config) = parts();
        let (event, fd) = event();
        interrupts.assign(IrqIndex::Intx, 0, [fd].into_iter(), &config).unwrap();
        interrupts.set_pin(true, &config);
        assert!(event.take());
        interrupts.set_pin(true, &config);
        assert!(!event.take(), "masked itself");
        interrupts.set_masked(IrqIndex::Intx, 0, false);
        interrupts.masks_changed(&config);
        assert!(event.take(), "still asserted");
        interrupts.set_pin(false, &config);
        interrupts.set_masked(IrqIndex::Intx, 0, false);
        interrupts.masks_changed(&config);
        assert!(!event.take());
    }

    #[test]
    fn the_pin_can_be_unmasked_by_eventfd() {
        let (mut interrupts, config) = parts();
        let ((event, fd), (unmask, unmask_fd)) = (event(), event());
        interrupts.assign(IrqIndex::Intx, 0, [fd].into_iter(), &config).unwrap();
        interrupts.assign_unmask(unmask_fd).unwrap();
        interrupts.set_pin(true, &config);
        assert!(event.take());
        interrupts.unmask_signalled(&config);
        assert!(!event.take(), "nobody has signalled");
        unmask.signal();
        interrupts.unmask_signalled(&config);
        assert!(event.take());
    }

    #[test]
    fn the_command_registers_interrupt_disable_holds_the_pin_back() {
        let (mut interrupts, mut config) = parts();
        let (event, fd) = event();
        interrupts.assign(IrqIndex::Intx, 0, [fd].into_iter(), &config).unwrap();
        config.write(COMMAND, &[0, 4]);
        interrupts.set_pin(true, &config);
        assert!(!event.take());
        config.write(COMMAND, &[0, 0]);
        interrupts.masks_changed(&config);
        assert!(event.take());
    }

    #[test]
    fn a_pin_asserted_before_its_eventfd_fires_when_it_comes() {
        let (mut interrupts, config) = parts();
        let (event, fd) = event();
        interrupts.set_pin(true, &config);
        interrupts.assign(IrqIndex::Intx, 0, [fd].into_iter(), &config).unwrap();
        assert!(event.take());
    }

    #[test]
    fn function_mask_keeps_vectors_pending() {
        let (mut interrupts, mut config) = parts();
        let (event, fd) = event();
        interrupts.assign(IrqIndex::Msix, 67, [fd].into_iter(), &config).unwrap();
        config.write(MSIX_CONTROL, &[0, 0xc0]);
        interrupts.raise(67, &config);
        assert!(!event.take());
        assert!(pending(&interrupts, 67) && !pending(&interrupts, 66));
        config.write(MSIX_CONTROL, &[0, 0x80]);
        interrupts.masks_changed(&config);
        assert!(event.take());
        assert!(!pending(&interrupts, 67));
    }

    #[test]
    fn each_mask_of_a_vector_keeps_it_pending() {
        let masks: [fn(&mut Interrupts, bool); 2] = [
            |interrupts, masked| interrupts.set_masked(IrqIndex::Msix, 1, masked),
            |interrupts, masked| interrupts.table.write(16 + 12, &[u8::from(masked)]),
        ];
        for set in masks {
            let (mut interrupts, mut config) = parts();
            let (event, fd) = event();
            config.write(MSIX_CONTROL, &[0, 0x80]);
            interrupts.assign(IrqIndex::Msix, 1, [fd].into_iter(), &config).unwrap();
            set(&mut interrupts, true);
            interrupts.raise(1, &config);
            assert!(!event.take() && pending(&interrupts, 1));
            set(&mut interrupts, false);
            interrupts.masks_changed(&config);
            assert!(event.take() && !pending(&interrupts, 1));
        }
    }

    #[test]
    fn vectors_of_a_disabled_msix_are_dropped() {
        let (mut interrupts, mut config) = parts();
        interrupts.raise(0, &config);
        config.write(MSIX_CONTROL, &[0, 0x80]);
        assert!(!pending(&interrupts, 0));
        interrupts.raise(0, &config);
        assert!(pending(&interrupts, 0), "enabled, but without an eventfd yet");
        interrupts.raise(999, &config);
    }

    #[test]
    fn a_full_blocking_eventfd_does_not_stop_the_server() {
        let (mut interrupts, config) = parts();
        let fd = eventfd(0, EventfdFlags::empty()).unwrap();
        rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        interrupts.assign(IrqIndex::Msix, 0, [Some(fd)].into_iter(), &config).unwrap();
        interrupts.raise(0, &config);
    }

    #[test]
    fn only_eventfds_are_taken() {
        let (mut interrupts, config) = parts();
        let file = OwnedFd::from(std::fs::File::open("/dev/zero").unwrap());
        let refused = interrupts.assign(IrqIndex::Msix, 0, [Some(file)].into_iter(), &config);
        assert_eq!(refused, Err(Errno::INVAL));
        let (event, fd) = event();
        interrupts.assign(IrqIndex::Msix, 0, [fd].into_iter(), &config).unwrap();
        let file = OwnedFd::from(std::fs::File::open("/dev/zero").unwrap());
        let fds = [Some(self::event().1.unwrap()), Some(file)].into_iter();
        assert_eq!(interrupts.assign(IrqIndex::Msix, 0, fds, &config), Err(Errno::INVAL));
        interrupts.signal(IrqIndex::Msix, 0);
        assert!(event.take(), "nothing has changed");
        let (pipe, _writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(interrupts.assign_unmask(Some(pipe)), Err(Errno::INVAL));
    }

    #[test]
    fn a_new_client_starts_without_eventfds_and_masks() {
        let (mut interrupts, config) = parts();
        interrupts.set_masked(IrqIndex::Intx, 0, true);
        interrupts.set_pin(true, &config);
        interrupts.disconnect();
        let (event, fd) = event();
        interrupts.assign(IrqIndex::Intx, 0, [fd].into_iter(), &config).unwrap();
        assert!(event.take(), "the level was kept");
    }
}
