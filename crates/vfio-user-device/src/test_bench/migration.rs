//! Another device in the place of the one on the bench, as at a server to which its client has moved
//! the guest.

use super::TestBench;
use crate::device::Device;
use crate::migration::MigrationState;
use crate::pci::function::{MigrationError, OnPanic, PciFunction};
use crate::state::StateError;

/// Bytes that the client takes at a time.
const PIECE_LEN: usize = 4096;

impl TestBench {
    /// Moves the guest to another device, as a migration does: guest memory is the same, descriptors
    /// are new, and messages to the client that it has not answered are sent again.
    ///
    /// # Errors
    /// What [`Device::save_to_migrate`] or [`Device::restore_migrated`] of the devices say, or the
    /// two do not look the same. The first one stays then.
    pub fn migrate(&mut self, device: impl Device + 'static) -> Result<(), StateError> {
        self.migrate_with(device, |state| state)
    }

    /// The same with a client that hands over another state than it was given.
    pub(crate) fn migrate_with(
        &mut self,
        device: impl Device + 'static,
        change: impl FnOnce(Vec<u8>) -> Vec<u8>,
    ) -> Result<(), StateError> {
        self.function.bus.dma.hold(true);
        self.run();
        self.function.bus.dma.send_again();
        let state = self.state_of_device().map(change);
        let moved = state.and_then(|state| self.place(device, &state));
        let moved = moved.and_then(|function| self.plug(function));
        if moved.is_err() {
            // It may have been asked for its state without success.
            let _ = self.function.migrate_to(MigrationState::Running);
            self.function.bus.dma.hold(false);
        }
        self.run();
        moved
    }

    fn state_of_device(&mut self) -> Result<Vec<u8>, StateError> {
        self.function.migrate_to(MigrationState::StopCopy).map_err(state_error)?;
        let mut state = Vec::new();
        loop {
            let piece = self.function.take_migration_data(PIECE_LEN).map_err(state_error)?;
            state.extend_from_slice(piece);
            if piece.len() < PIECE_LEN {
                return Ok(state);
            }
        }
    }

    /// A function with a device that has taken that state.
    fn place(&self, device: impl Device, state: &[u8]) -> Result<PciFunction, StateError> {
        let function = PciFunction::new(Box::new(device), OnPanic::Propagate);
        let mut function = function.map_err(|error| StateError::Content(error.to_string()))?;
        function.bus.connected = true;
        function.migrate_to(MigrationState::Resuming).map_err(state_error)?;
        for piece in state.chunks(PIECE_LEN) {
            function.add_migration_data(piece).map_err(state_error)?;
        }
        function.migrate_to(MigrationState::Stop).map_err(state_error)?;
        Ok(function)
    }

    /// Gives a function the guest's memory and the eventfds of its vectors, and lets it work.
    fn plug(&mut self, function: PciFunction) -> Result<(), StateError> {
        let before = std::mem::replace(&mut self.function, function);
        self.held.clear();
        let mut ranges = before.bus.memory.ranges().into_iter();
        let announced = ranges
            .try_for_each(|(address, size, writable)| self.map_memory(address, size, writable));
        let plugged = announced.and_then(|()| self.assign_vectors());
        if let Err(error) = plugged {
            self.function = before;
            return Err(error.into());
        }
        self.function.migrate_to(MigrationState::Running).map_err(state_error)
    }
}

fn state_error(error: MigrationError) -> StateError {
    match error {
        MigrationError::State(error) => error,
        error => StateError::Content(error.to_string()),
    }
}
