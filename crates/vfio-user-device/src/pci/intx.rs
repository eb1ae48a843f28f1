//! The interrupt pin: it has a level, and masks itself whenever it fires.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::event::EventFd;

/// How long an asserted pin waits after an UNMASK message before it fires again.
///
/// QEMU without KVM does not see when the guest's interrupt handler ends. It unmasks after the
/// handler's first register access, which as a rule reads the cause: the write that acknowledges
/// it is still to come. A pin that fired at once would interrupt the guest without a cause. A
/// handler needs tens of microseconds for its accesses, and a guest that leaves a second cause for
/// another interrupt can bear a millisecond.
const SETTLE_TIME: Duration = Duration::from_millis(1);
/// How long it waits at most for a client that keeps its socket full.
const MAX_SETTLE_TIME: Duration = Duration::from_millis(100);

/// Whether the pin may fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum MaskState {
    #[default]
    Open,
    /// Until the client unmasks it.
    Masked,
    /// Unmasked while asserted: it fires if it is still asserted when the messages are through that
    /// the client has sent before, and its driver had `delay` to acknowledge the interrupt.
    Settling { since: Instant, delay: Duration },
}

/// The interrupt pin, level-triggered.
#[derive(Debug, Default)]
pub(super) struct Pin {
    present: bool,
    /// The level that the device drives.
    asserted: bool,
    mask: MaskState,
    trigger: Option<EventFd>,
    /// Signalled by the client (or by KVM in its name) instead of an UNMASK message.
    unmask: Option<EventFd>,
}

impl Pin {
    /// The pin of a device that has one, or not.
    pub fn new(present: bool) -> Self {
        Pin { present, ..Pin::default() }
    }

    pub fn present(&self) -> bool {
        self.present
    }

    pub fn asserted(&self) -> bool {
        self.asserted
    }

    /// Sets the level. Once it was low there is nothing left to settle.
    pub fn drive(&mut self, asserted: bool) {
        self.asserted = asserted;
        if !asserted && matches!(self.mask, MaskState::Settling { .. }) {
            self.mask = MaskState::Open;
        }
    }

    /// Interrupts the client if the level asks for it and no mask is in the way.
    pub fn fire(&mut self) {
        if self.asserted && self.mask == MaskState::Open {
            if let Some(trigger) = &self.trigger {
                self.mask = MaskState::Masked;
                trigger.signal();
            }
        }
    }

    /// Assigns what is signalled, or takes it away. The next one starts without a mask.
    pub fn assign(&mut self, trigger: Option<EventFd>) {
        self.mask = MaskState::Open;
        self.trigger = trigger;
    }

    pub fn trigger(&self) -> Option<&EventFd> {
        self.trigger.as_ref()
    }

    pub fn assign_unmask(&mut self, fd: Option<OwnedFd>) -> Result<(), Errno> {
        self.unmask = fd.map(EventFd::new).transpose()?;
        Ok(())
    }

    pub fn unmask_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unmask.as_ref().map(EventFd::as_fd)
    }

    pub fn mask(&mut self) {
        self.mask = MaskState::Masked;
    }

    /// The client has unmasked the pin by message.
    pub fn unmask(&mut self, now: Instant) {
        self.open(now, SETTLE_TIME);
    }

    /// The unmask descriptor may have been signalled. That is at the end of the guest's interrupt:
    /// the acknowledgement lies in the socket, and does not have to be waited for.
    pub fn take_unmask(&mut self, now: Instant) {
        if self.unmask.as_ref().is_some_and(EventFd::take) {
            self.open(now, Duration::ZERO);
        }
    }

    fn open(&mut self, now: Instant, delay: Duration) {
        if self.mask == MaskState::Masked {
            self.mask = if self.asserted {
                MaskState::Settling { since: now, delay }
            } else {
                MaskState::Open
            };
        }
    }

    /// When [`Pin::settle`] has something to do.
    pub fn settles_at(&self) -> Option<Instant> {
        match self.mask {
            MaskState::Settling { since, delay } => Some(since + delay),
            MaskState::Open | MaskState::Masked => None,
        }
    }

    /// Lets an unmasked pin fire again if it has been asserted for long enough; `quiet` says that
    /// no message of the client waits.
    pub fn settle(&mut self, now: Instant, quiet: bool) {
        if let MaskState::Settling { since, delay } = self.mask {
            if now >= since + if quiet { delay } else { MAX_SETTLE_TIME } {
                self.mask = MaskState::Open;
            }
        }
    }

    /// Takes the descriptors and the mask away. The level stays.
    pub fn disable(&mut self) {
        self.trigger = None;
        self.unmask = None;
        self.mask = MaskState::Open;
    }
}
