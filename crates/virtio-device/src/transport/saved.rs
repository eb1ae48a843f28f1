//! A transport as a value: its registers, and where its queue is.
//!
//! A chain that is being served is not in it. It is still in the ring, and is served again.

use serde::{Deserialize, Serialize};
use vfio_user_device::{Bus, StateError};

use super::{QueueState, State, Transport, Virtqueue};
use crate::flags::Status;
use crate::queue::{QueuePosition, RingAddresses};

/// What a driver has written since the last reset, and how far its queue was served.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportState {
    /// Features that the device offers.
    offered: u64,
    status: u8,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    accepts_unknown: bool,
    config_vector: u16,
    queue_select: u16,
    queue_vector: u16,
    queue_enabled: bool,
    queue_size: u16,
    queue_descriptors: u64,
    queue_driver: u64,
    queue_device: u64,
    isr: u8,
    /// The status before a reset that waits for the last access to guest memory.
    resetting: Option<u8>,
    /// Of the queue, if it is served.
    position: Option<QueuePosition>,
}

impl Transport {
    /// Saves it.
    pub fn save(&self) -> TransportState {
        let state = &self.state;
        TransportState {
            offered: self.offered.bits(),
            status: state.status.bits(),
            device_feature_select: state.device_feature_select,
            driver_feature_select: state.driver_feature_select,
            driver_features: state.driver_features,
            accepts_unknown: state.accepts_unknown,
            config_vector: state.config_vector,
            queue_select: state.queue_select,
            queue_vector: state.queue_vector,
            queue_enabled: state.queue_enabled,
            queue_size: state.rings.size,
            queue_descriptors: state.rings.descriptors,
            queue_driver: state.rings.driver,
            queue_device: state.rings.device,
            isr: state.isr,
            resetting: self.resetting.map(|status| status.bits()),
            position: self.queue.running.then_some(self.queue.position),
        }
    }

    /// Goes on from the state of another device's transport, and serves its queue.
    ///
    /// # Errors
    /// The other device offered other features, or its queue is not possible.
    pub fn restore(&mut self, bus: &mut Bus, saved: &TransportState) -> Result<(), StateError> {
        if saved.offered != self.offered.bits() {
            return Err(StateError::Shape { what: "the virtio features" });
        }
        self.state = State {
            status: Status::from_bits_truncate(saved.status),
            device_feature_select: saved.device_feature_select,
            driver_feature_select: saved.driver_feature_select,
            driver_features: saved.driver_features,
            accepts_unknown: saved.accepts_unknown,
            config_vector: super::vector(saved.config_vector.into()),
            queue_select: saved.queue_select,
            queue_vector: super::vector(saved.queue_vector.into()),
            queue_enabled: saved.queue_enabled,
            rings: RingAddresses {
                size: saved.queue_size,
                descriptors: saved.queue_descriptors,
                driver: saved.queue_driver,
                device: saved.queue_device,
            },
            isr: saved.isr,
        };
        self.resetting = saved.resetting.map(Status::from_bits_truncate);
        self.queue = QueueState::default();
        let Some(position) = saved.position else { return Ok(()) };
        let (rings, features) = (self.state.rings, self.agreed());
        rings.check(features).map_err(|fault| StateError::Content(fault.to_string()))?;
        self.queue = QueueState { running: true, position, ..QueueState::default() };
        (self.serve_queue)(bus, Virtqueue::at(rings, features, position));
        Ok(())
    }
}
