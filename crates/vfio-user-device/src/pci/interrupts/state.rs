//! Interrupts and their eventfds, as a value.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Interrupts;
use crate::eventfd::EventFd;
use crate::pci::MsixTable;
use crate::pci::intx::IntxState;
use crate::pci::msi::VectorState;
use crate::state::{Descriptors, FdNumber, StateError};

/// All interrupts of a device.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InterruptState {
    intx: IntxState,
    msi: Vec<VectorState>,
    msix: Vec<VectorState>,
    table: MsixTable,
    error: Option<FdNumber>,
    request: Option<FdNumber>,
}

impl InterruptState {
    /// The same for a process that takes the place of one that has crashed.
    pub fn after_crash(self) -> Self {
        InterruptState { intx: self.intx.after_crash(), ..self }
    }
}

impl Interrupts {
    /// Saves them.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn save(&self, fds: &mut Descriptors, now: Instant) -> Result<InterruptState, StateError> {
        Ok(InterruptState {
            intx: self.intx.save(fds, now)?,
            msi: self.msi.save(fds)?,
            msix: self.msix.save(fds)?,
            table: self.table.clone(),
            error: EventFd::saved(self.error.as_ref(), fds)?,
            request: EventFd::saved(self.request.as_ref(), fds)?,
        })
    }

    /// Takes over those of another device. Nothing is signalled: what is pending stays pending.
    ///
    /// # Errors
    /// A vector that this device does not have, or a descriptor that is no eventfd.
    pub fn restore(
        &mut self,
        state: InterruptState,
        fds: &mut Descriptors,
        now: Instant,
    ) -> Result<(), StateError> {
        self.intx.restore(state.intx, fds, now)?;
        self.msi.restore(state.msi, fds)?;
        self.msix.restore(state.msix, fds)?;
        self.table.restore(&state.table)?;
        self.error = EventFd::taken(state.error, fds)?;
        self.request = EventFd::taken(state.request, fds)?;
        Ok(())
    }

    /// Saves the pin's level, what is pending, and the MSI-X table: what is the device's, and not its
    /// client's.
    pub fn save_levels(&self) -> InterruptState {
        InterruptState {
            intx: self.intx.save_level(),
            msi: self.msi.save_pending(),
            msix: self.msix.save_pending(),
            table: self.table.clone(),
            error: None,
            request: None,
        }
    }

    /// Takes over the pin's level, what is pending, and the MSI-X table of a device that another
    /// client had. Nothing is signalled. What this device's client has assigned and masked stays.
    ///
    /// # Errors
    /// A vector that this device does not have.
    pub fn adopt(&mut self, state: &InterruptState) -> Result<(), StateError> {
        self.intx.adopt(&state.intx);
        self.msi.adopt(&state.msi)?;
        self.msix.adopt(&state.msix)?;
        self.table.restore(&state.table)
    }
}
