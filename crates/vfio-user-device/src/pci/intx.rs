//! The interrupt pin: it has a level, and masks itself whenever it fires.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::eventfd::EventFd;
use crate::state::{Descriptors, FdNumber, StateError};

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

/// The pin as a value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntxState {
    asserted: bool,
    mask: SavedMask,
    trigger: Option<FdNumber>,
    unmask: Option<FdNumber>,
}

/// [`MaskState`], with the time that is left.
#[derive(Debug, Serialize, Deserialize)]
enum SavedMask {
    Open,
    Masked,
    Settling { left: Duration },
}

impl IntxState {
    /// The same for a process that takes the place of one that has crashed: the client may have unmasked
    /// the pin by a signal which that one has taken and not acted on. A pin that is asserted fires once
    /// too often then, and not once too few.
    pub fn after_crash(self) -> Self {
        match (&self.mask, self.unmask) {
            (SavedMask::Masked, Some(_)) => {
                IntxState { mask: SavedMask::Settling { left: SETTLE_TIME }, ..self }
            }
            _ => self,
        }
    }
}

/// The interrupt pin, level-triggered.
#[derive(Debug, Default)]
pub(super) struct Intx {
    present: bool,
    /// The level that the device drives.
    asserted: bool,
    mask: MaskState,
    trigger: Option<EventFd>,
    /// Signalled by the client (or by KVM in its name) instead of an UNMASK message.
    unmask: Option<EventFd>,
}

impl Intx {
    /// The pin of a device that has one, or not.
    pub fn new(present: bool) -> Self {
        Intx { present, ..Intx::default() }
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

    /// Interrupts the client if the level asks for it and no mask is in the way. Returns whether it did.
    pub fn fire(&mut self) -> bool {
        if self.asserted && self.mask == MaskState::Open {
            if let Some(trigger) = &self.trigger {
                self.mask = MaskState::Masked;
                trigger.interrupt();
                return true;
            }
        }
        false
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
        self.unmask = fd.map(EventFd::from_client).transpose()?;
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

    /// When [`Intx::settle`] has something to do.
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

    /// Saves it.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn save(&self, fds: &mut Descriptors, now: Instant) -> Result<IntxState, StateError> {
        let mask = match self.mask {
            MaskState::Open => SavedMask::Open,
            MaskState::Masked => SavedMask::Masked,
            MaskState::Settling { since, delay } => SavedMask::Settling {
                left: delay.saturating_sub(now.saturating_duration_since(since)),
            },
        };
        Ok(IntxState {
            asserted: self.asserted,
            mask,
            trigger: EventFd::saved(self.trigger.as_ref(), fds)?,
            unmask: EventFd::saved(self.unmask.as_ref(), fds)?,
        })
    }

    /// Takes over another one's state.
    ///
    /// # Errors
    /// A descriptor that is no eventfd.
    pub fn restore(
        &mut self,
        state: IntxState,
        fds: &mut Descriptors,
        now: Instant,
    ) -> Result<(), StateError> {
        self.asserted = state.asserted;
        self.mask = match state.mask {
            SavedMask::Open => MaskState::Open,
            SavedMask::Masked => MaskState::Masked,
            SavedMask::Settling { left } => {
                MaskState::Settling { since: now, delay: left.min(SETTLE_TIME) }
            }
        };
        self.trigger = EventFd::taken(state.trigger, fds)?;
        self.unmask = EventFd::taken(state.unmask, fds)?;
        Ok(())
    }

    /// Saves the level alone.
    pub fn save_level(&self) -> IntxState {
        IntxState { asserted: self.asserted, mask: SavedMask::Open, trigger: None, unmask: None }
    }

    /// Takes over another one's level. Mask and descriptors are this one's client's.
    pub fn adopt(&mut self, state: &IntxState) {
        self.asserted = state.asserted;
    }

    /// Takes the descriptors and the mask away. The level stays.
    pub fn disable(&mut self) {
        self.trigger = None;
        self.unmask = None;
        self.mask = MaskState::Open;
    }
}
