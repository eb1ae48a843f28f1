//! Where the parts of a queue are in guest memory, and whether a queue can be there.

use virtio_bindings::virtio_ring::{
    VRING_AVAIL_ALIGN_SIZE, VRING_DESC_ALIGN_SIZE, VRING_USED_ALIGN_SIZE,
};

use super::super::chain::{ChainReader, DESCRIPTOR_SIZE};
use super::super::fault::Fault;
use super::super::flags::Features;

/// What the driver area's address is a multiple of, in bytes (section 2.8).
const PACKED_EVENT_ALIGNMENT: u32 = 4;

/// The most descriptors of a queue. Linux's entropy driver has one request under way.
pub const MAX_QUEUE_SIZE: u16 = 64;

/// Size and addresses of a queue's rings, section 2.6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingAddresses {
    /// Descriptors of the queue.
    pub size: u16,
    /// Address of the descriptor table.
    pub descriptors: u64,
    /// Address of what the driver writes: the available ring of a split queue.
    pub driver: u64,
    /// Address of what the device writes: the used ring of a split queue.
    pub device: u64,
}

impl RingAddresses {
    /// Whether a queue can be there.
    ///
    /// # Errors
    /// [`Fault::QueueSize`], [`Fault::Misaligned`].
    pub fn check(&self, features: Features) -> Result<(), Fault> {
        let packed = features.contains(Features::RING_PACKED);
        let possible = if packed { self.size > 0 } else { self.size.is_power_of_two() };
        if !possible || self.size > MAX_QUEUE_SIZE {
            return Err(Fault::QueueSize(self.size));
        }
        let driver = if packed { PACKED_EVENT_ALIGNMENT } else { VRING_AVAIL_ALIGN_SIZE };
        let parts = [
            ("descriptor area", self.descriptors, VRING_DESC_ALIGN_SIZE),
            ("driver area", self.driver, driver),
            ("device area", self.device, VRING_USED_ALIGN_SIZE),
        ];
        for (part, address, alignment) in parts {
            let alignment = u64::from(alignment);
            if address % alignment != 0 {
                return Err(Fault::Misaligned { part, address, alignment });
            }
        }
        Ok(())
    }

    /// Where a driver of the legacy interface has them: in one piece, the used ring on a page of
    /// its own (section 2.7.2).
    pub fn legacy(address: u64, page_size: u64) -> Self {
        let size = MAX_QUEUE_SIZE;
        let driver = address.saturating_add(u64::from(size) * DESCRIPTOR_SIZE as u64);
        let end = driver.saturating_add(4 + 2 * u64::from(size) + 2);
        let device = end.checked_next_multiple_of(page_size).unwrap_or(u64::MAX);
        RingAddresses { size, descriptors: address, driver, device }
    }

    /// Bytes of the descriptor table.
    pub(super) fn table_len(&self) -> usize {
        ChainReader::table_len(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_has_its_rules() {
        let packed = Features::RING_PACKED;
        let addresses = RingAddresses { size: 48, descriptors: 16, driver: 2, device: 4 };
        assert_eq!(addresses.check(Features::empty()), Err(Fault::QueueSize(48)));
        let misaligned = Fault::Misaligned { part: "driver area", address: 2, alignment: 4 };
        assert_eq!(addresses.check(packed), Err(misaligned));
        assert_eq!(RingAddresses { driver: 8, ..addresses }.check(packed), Ok(()));
        let empty = RingAddresses { size: 0, ..addresses };
        assert_eq!(empty.check(packed), Err(Fault::QueueSize(0)));
        assert_eq!(RingAddresses { size: 32, ..addresses }.check(Features::empty()), Ok(()));
    }

    #[test]
    fn the_legacy_layout_is_that_of_the_specification() {
        // Section 2.7.2's formula for 64 descriptors: 1024 bytes, 134 bytes, up to the next page.
        let addresses = RingAddresses::legacy(0x8000, 4096);
        let expected =
            RingAddresses { size: 64, descriptors: 0x8000, driver: 0x8400, device: 0x9000 };
        assert_eq!(addresses, expected);
        assert_eq!(addresses.check(Features::empty()), Ok(()));
    }
}
