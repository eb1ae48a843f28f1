//! The registers of the modern interface, section 4.1.4.3.

use vfio_user_device::Bus;

use super::super::queue::RingAddresses;
use super::super::registers::common;
use super::{NO_VECTOR, QUEUE, Transport, half, low16, low32, set_half, vector};

impl Transport {
    pub(super) fn read_common(&mut self, bus: &Bus, offset: u64) -> u64 {
        let status = self.status(bus);
        let state = &self.state;
        match offset {
            common::DEVICE_FEATURE_SELECT => state.device_feature_select.into(),
            common::DEVICE_FEATURE => half(self.offered.bits(), state.device_feature_select).into(),
            common::DRIVER_FEATURE_SELECT => state.driver_feature_select.into(),
            common::DRIVER_FEATURE => {
                half(state.driver_features, state.driver_feature_select).into()
            }
            common::CONFIG_VECTOR => state.config_vector.into(),
            common::QUEUE_COUNT => 1,
            common::STATUS => status.bits().into(),
            common::QUEUE_SELECT => state.queue_select.into(),
            // The other registers are a queue's.
            common::QUEUE_VECTOR if state.queue_select != QUEUE => NO_VECTOR.into(),
            _ if state.queue_select != QUEUE => 0,
            common::QUEUE_SIZE => state.rings.size.into(),
            common::QUEUE_VECTOR => state.queue_vector.into(),
            common::QUEUE_ENABLE => state.queue_enabled.into(),
            common::QUEUE_NOTIFY_OFFSET => QUEUE.into(),
            _ => {
                // A copy, because there is one function for reading and writing.
                let mut rings = state.rings;
                let register = address_register(&mut rings, offset);
                register.map_or(0, |(address, which)| half(*address, which).into())
            }
        }
    }

    pub(super) fn write_common(&mut self, bus: &mut Bus, offset: u64, value: u64) {
        let state = &mut self.state;
        match offset {
            common::DEVICE_FEATURE_SELECT => state.device_feature_select = low32(value),
            common::DRIVER_FEATURE_SELECT => state.driver_feature_select = low32(value),
            common::DRIVER_FEATURE => self.accept_features(low32(value)),
            common::CONFIG_VECTOR => state.config_vector = vector(value),
            common::STATUS => self.set_status(bus, value),
            common::QUEUE_SELECT => state.queue_select = low16(value),
            _ if state.queue_select != QUEUE => {}
            common::QUEUE_VECTOR => state.queue_vector = vector(value),
            // Section 4.1.4.3.2: an enabled queue stays as it is.
            _ if state.queue_enabled => {}
            common::QUEUE_SIZE => state.rings.size = low16(value),
            common::QUEUE_ENABLE if value == 1 => self.enable_queue(bus),
            _ => {
                if let Some((address, which)) = address_register(&mut state.rings, offset) {
                    set_half(address, which, low32(value));
                }
            }
        }
    }
}

/// The address that a register of the common configuration holds a half of, and which half.
fn address_register(rings: &mut RingAddresses, offset: u64) -> Option<(&mut u64, u32)> {
    let address = match offset & !7 {
        common::QUEUE_DESCRIPTORS => &mut rings.descriptors,
        common::QUEUE_DRIVER => &mut rings.driver,
        common::QUEUE_DEVICE => &mut rings.device,
        _ => return None,
    };
    match offset & 7 {
        0 => Some((address, 0)),
        4 => Some((address, 1)),
        _ => None,
    }
}
