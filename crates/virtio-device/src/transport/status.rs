//! How driver and device come to terms: status and features, sections 2.1 and 2.2.

use vfio_user_device::Bus;

use super::super::flags::{Features, Status};
use super::{Transport, set_half};

impl Transport {
    pub(super) fn accept_features(&mut self, bits: u32) {
        let state = &mut self.state;
        if state.status.contains(Status::FEATURES_OK) {
            return;
        }
        match state.driver_feature_select {
            select @ (0 | 1) => set_half(&mut state.driver_features, select, bits),
            _ => state.accepts_unknown = bits != 0,
        }
    }

    /// Whether the accepted features make a device of the modern interface.
    fn features_acceptable(&self) -> bool {
        let accepted = Features::from_bits(self.state.driver_features);
        !self.state.accepts_unknown
            && accepted.is_some_and(|accepted| {
                self.offered.contains(accepted) && accepted.contains(Features::VERSION_1)
            })
    }

    /// The offered features that the driver has accepted so far.
    pub(super) fn accepted(&self) -> Features {
        Features::from_bits_truncate(self.state.driver_features) & self.offered
    }

    /// The features that a queue starts with. Without FEATURES_OK that is by the legacy interface,
    /// and what the driver has written by the other one was never validated.
    pub(super) fn agreed(&self) -> Features {
        if self.state.status.contains(Status::FEATURES_OK) {
            self.accepted()
        } else {
            self.accepted() & Features::LEGACY
        }
    }

    /// The status as a modern driver reads it.
    pub(super) fn status(&mut self, bus: &Bus) -> Status {
        self.resetting = self.resetting.filter(|_| bus.dma_outstanding());
        self.resetting.unwrap_or(self.state.status)
    }

    pub(super) fn set_status(&mut self, bus: &mut Bus, value: u64) {
        let mut added = self.added_status(value);
        let status = self.state.status;
        if !status.contains(Status::FEATURES_OK) && !self.features_acceptable() {
            added.remove(Status::FEATURES_OK);
        }
        if !(status | added).contains(Status::FEATURES_OK) {
            added.remove(Status::DRIVER_OK);
        }
        self.change_status(bus, value, added);
    }

    /// The legacy interface has no FEATURES_OK.
    pub(super) fn set_legacy_status(&mut self, bus: &mut Bus, value: u64) {
        let added = self.added_status(value).difference(Status::FEATURES_OK);
        self.change_status(bus, value, added);
    }

    /// The status bits that a driver adds by writing a value.
    fn added_status(&self, value: u64) -> Status {
        let written = Status::from_bits_truncate(value.to_le_bytes()[0]);
        // A driver that did not wait for the reset's end has read the old status, and writes it
        // back with a bit more.
        let first_steps = Status::ACKNOWLEDGE | Status::DRIVER;
        let stale = self.resetting.map_or(Status::empty(), |old| old.difference(first_steps));
        written.difference(stale | Status::DEVICE_NEEDS_RESET)
    }

    /// Only a reset takes a bit back, and 0 is a reset.
    fn change_status(&mut self, bus: &mut Bus, value: u64, added: Status) {
        if value & 0xff == 0 {
            return self.reset_by_driver(bus);
        }
        self.resetting = None;
        self.state.status |= added;
        if self.state.status.contains(Status::DRIVER_OK) {
            self.start_queue(bus);
        }
    }

    /// The driver resets the device. It reads a status of 0 when nothing of what was under way can
    /// touch its memory any more (section 4.1.4.3.1).
    fn reset_by_driver(&mut self, bus: &mut Bus) {
        let before = self.resetting.unwrap_or(self.state.status);
        self.reset(bus);
        if bus.dma_outstanding() && !before.is_empty() {
            self.resetting = Some(before);
        }
    }
}
