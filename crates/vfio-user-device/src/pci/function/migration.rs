//! A device on its way to another server: it stands still, and its state is a stream of bytes.

use std::time::Instant;

use super::PciFunction;
use super::state::MigrationDocument;
use crate::memory::SharedMemory;
use crate::migration::MigrationState;
use crate::state::StateError;

/// Longest state in bytes, besides the memory of BARs. It comes from a client.
const MAX_STATE_LEN: usize = 1 << 20;

/// Why a device cannot be migrated further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrationError {
    /// There is no such transition.
    #[error("no way from the migration state {from:?} to {to:?}")]
    NoWay { from: MigrationState, to: MigrationState },
    /// The device's state is not read or written now.
    #[error("no migration data are expected in the state {0:?}")]
    NotNow(MigrationState),
    /// More than a device's state can be.
    #[error("a state of more than {0} bytes")]
    TooLong(usize),
    /// The device cannot say its state, or take one.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Where a device is in its migration.
#[derive(Debug, Default)]
pub(super) struct Migration {
    state: MigrationState,
    /// Since when the device stands still.
    stopped_at: Option<Instant>,
    /// Its state, as it is read or written.
    data: Vec<u8>,
    /// Bytes of it that were read.
    read: usize,
}

impl PciFunction {
    /// What the device does for its migration.
    pub fn migration_state(&self) -> MigrationState {
        self.migration.state
    }

    /// Whether the client moves the device to another server, or prepares for it.
    pub fn is_migrating(&self) -> bool {
        self.migration.state != MigrationState::Running || self.bus.memory.has_log()
    }

    /// Whether the device can say its state.
    pub fn can_migrate(&mut self) -> bool {
        self.guarded(false, |function| function.device.save_to_migrate().is_ok())
    }

    /// Goes on to another migration state. A device that works and is to stand still has to be at
    /// rest.
    ///
    /// # Errors
    /// There is no way, or the device's state cannot be had or used. The device is in the last state
    /// that could be reached.
    pub fn migrate_to(&mut self, target: MigrationState) -> Result<(), MigrationError> {
        while self.migration.state != target {
            let from = self.migration.state;
            let next = from.next(target).ok_or(MigrationError::NoWay { from, to: target })?;
            self.take_step(next)?;
            log::debug!("migration: {from:?} to {next:?}");
            self.migration.state = next;
        }
        Ok(())
    }

    fn take_step(&mut self, next: MigrationState) -> Result<(), MigrationError> {
        let now = Instant::now();
        let given = std::mem::take(&mut self.migration.data);
        self.migration.read = 0;
        match (self.migration.state, next) {
            (_, MigrationState::StopCopy) => {
                let as_of = self.migration.stopped_at.unwrap_or(now);
                self.migration.data = self.encode_state(as_of)?;
                self.stand_still(now);
            }
            // A client may pass through without a word.
            (MigrationState::Resuming, _) if !given.is_empty() => {
                if let Err(error) = self.take_state(&given, now) {
                    log::warn!(
                        "the device does not take the state that is migrated to it: {error}"
                    );
                    self.migration.state = MigrationState::Error;
                    return Err(error);
                }
            }
            (MigrationState::Running, MigrationState::Stop) => self.stand_still(now),
            (MigrationState::Stop, MigrationState::Running) => self.go_on(now),
            _ => {}
        }
        Ok(())
    }

    fn stand_still(&mut self, now: Instant) {
        self.bus.stopped = true;
        self.migration.stopped_at.get_or_insert(now);
    }

    /// The device works again. The time in which it stood still is none for it.
    fn go_on(&mut self, now: Instant) {
        let since = self.migration.stopped_at.take().unwrap_or(now);
        let bus = &mut self.bus;
        bus.timers.postpone(now.saturating_duration_since(since));
        bus.tasks.postpone(now.saturating_duration_since(since));
        bus.stopped = false;
        bus.dma.hold(false);
        bus.interrupts.masks_changed(&bus.config);
    }

    fn encode_state(&mut self, now: Instant) -> Result<Vec<u8>, StateError> {
        let document = self.save_to_migrate(now)?;
        let data = serde_json::to_vec(&document);
        let data = data.map_err(|error| StateError::Content(error.to_string()))?;
        let most = self.max_state_len();
        if data.len() > most {
            let length = data.len();
            return Err(StateError::Content(format!("it has {length} bytes, {most} at most")));
        }
        Ok(data)
    }

    fn take_state(&mut self, data: &[u8], now: Instant) -> Result<(), MigrationError> {
        let document = serde_json::from_slice::<MigrationDocument>(data);
        let document = document.map_err(|error| StateError::Content(error.to_string()))?;
        self.restore_migrated(document, now)?;
        // Its timers have the time left from now on that they had.
        self.migration.stopped_at = Some(now);
        Ok(())
    }

    /// Most bytes of a state. Memory is written in two digits a byte.
    fn max_state_len(&self) -> usize {
        let memory = self.bus.shared.iter().flatten().map(SharedMemory::len);
        memory.fold(MAX_STATE_LEN, |sum, bytes| sum.saturating_add(bytes.saturating_mul(2)))
    }

    /// The next bytes of the device's state, as many as are wanted unless it ends before.
    ///
    /// # Errors
    /// It is not read now.
    pub fn take_migration_data(&mut self, wanted: usize) -> Result<&[u8], MigrationError> {
        let migration = &mut self.migration;
        if !migration.state.is_saving() {
            return Err(MigrationError::NotNow(migration.state));
        }
        let rest = migration.data.get(migration.read..).unwrap_or_default();
        let taken = rest.get(..wanted).unwrap_or(rest);
        migration.read += taken.len();
        Ok(taken)
    }

    /// Takes the next bytes of another device's state.
    ///
    /// # Errors
    /// It is not written now, or too long.
    pub fn add_migration_data(&mut self, data: &[u8]) -> Result<(), MigrationError> {
        let most = self.max_state_len();
        let migration = &mut self.migration;
        if migration.state != MigrationState::Resuming {
            return Err(MigrationError::NotNow(migration.state));
        }
        if migration.data.len().saturating_add(data.len()) > most {
            return Err(MigrationError::TooLong(most));
        }
        migration.data.extend_from_slice(data);
        Ok(())
    }

    /// A reset, or the client's end: the device works.
    pub(super) fn end_migration(&mut self) {
        self.migration = Migration::default();
        self.bus.stopped = false;
        self.bus.dma.hold(false);
    }
}

#[cfg(test)]
mod tests;
