//! The registers of the legacy interface, section 4.1.4.10.

use vfio_user_device::Bus;

use super::super::flags::Status;
use super::super::queue::{MAX_QUEUE_SIZE, RingAddresses};
use super::super::registers::legacy;
use super::{QUEUE, Transport, half, low16, low32, vector};

impl Transport {
    pub(super) fn read_legacy(&mut self, bus: &mut Bus, offset: u64) -> u64 {
        let selected = self.state.queue_select == QUEUE;
        match offset {
            legacy::DEVICE_FEATURE => half(self.offered.bits(), 0).into(),
            legacy::DRIVER_FEATURE => half(self.state.driver_features, 0).into(),
            legacy::QUEUE_PAGE if selected => self.state.rings.descriptors / legacy::PAGE_SIZE,
            legacy::QUEUE_SIZE if selected => MAX_QUEUE_SIZE.into(),
            legacy::QUEUE_SELECT => self.state.queue_select.into(),
            // Section 4.1.4.10: legacy drivers do not wait for a reset's end.
            legacy::STATUS => self.state.status.bits().into(),
            legacy::ISR => self.take_isr(bus).into(),
            legacy::CONFIG_VECTOR if bus.msix_enabled() => self.state.config_vector.into(),
            legacy::QUEUE_VECTOR if bus.msix_enabled() && selected => {
                self.state.queue_vector.into()
            }
            _ => 0,
        }
    }

    pub(super) fn write_legacy(&mut self, bus: &mut Bus, offset: u64, value: u64) {
        let selected = self.state.queue_select == QUEUE;
        match offset {
            legacy::DRIVER_FEATURE if !self.state.status.contains(Status::FEATURES_OK) => {
                // There are no others in this interface.
                self.state.driver_features = u64::from(low32(value)) & self.offered.bits();
            }
            legacy::QUEUE_PAGE if selected => self.place_legacy_queue(bus, low32(value)),
            legacy::QUEUE_SELECT => self.state.queue_select = low16(value),
            legacy::QUEUE_NOTIFY => {
                // Section 3.1.2: older drivers use the device before they are ready.
                self.start_queue(bus);
                self.notify(bus, low16(value));
            }
            legacy::STATUS => self.set_legacy_status(bus, value),
            legacy::CONFIG_VECTOR if bus.msix_enabled() => {
                self.state.config_vector = vector(value);
            }
            legacy::QUEUE_VECTOR if bus.msix_enabled() && selected => {
                self.state.queue_vector = vector(value);
            }
            _ => {}
        }
    }

    fn place_legacy_queue(&mut self, bus: &mut Bus, page: u32) {
        self.stop_queue(bus);
        self.state.queue_enabled = page != 0;
        let address = u64::from(page) * legacy::PAGE_SIZE;
        self.state.rings = RingAddresses::legacy(address, legacy::PAGE_SIZE);
        if self.state.status.contains(Status::DRIVER_OK) {
            self.start_queue(bus);
        }
    }
}
