//! Feature bits and status bits.

use bitflags::bitflags;
use virtio_bindings::virtio_config as config;
use virtio_bindings::virtio_ring as ring;

bitflags! {
    /// What device and driver agree on, sections 2.2 and 6.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Features: u64 {
        /// Descriptors may point to a table of further ones.
        const INDIRECT_DESC = 1 << ring::VIRTIO_RING_F_INDIRECT_DESC;
        /// Notifications are asked for by index instead of by a flag.
        const EVENT_IDX = 1 << ring::VIRTIO_RING_F_EVENT_IDX;
        /// The device follows the specification, not what was there before it.
        const VERSION_1 = 1 << config::VIRTIO_F_VERSION_1;
        /// Addresses are those that the platform gives to devices, through an IOMMU if there is
        /// one. Always true of a device behind vfio-user.
        const ACCESS_PLATFORM = 1 << config::VIRTIO_F_ACCESS_PLATFORM;
        /// The queue is a packed one.
        const RING_PACKED = 1 << config::VIRTIO_F_RING_PACKED;
    }
}

impl Features {
    /// What every device offers. Not packed queues: a driver that knows them prefers them, and not
    /// every one of those drivers has known them for long.
    pub const OFFERED: Features = Features::INDIRECT_DESC
        .union(Features::EVENT_IDX)
        .union(Features::VERSION_1)
        .union(Features::ACCESS_PLATFORM);

    /// What the legacy interface has room for: the low 32 bits.
    pub const LEGACY: Features = Features::INDIRECT_DESC.union(Features::EVENT_IDX);
}

/// The bit of a constant in linux/virtio_config.h, all of which fit.
const fn bit(constant: u32) -> u8 {
    constant.to_le_bytes()[0]
}

bitflags! {
    /// How far the driver has come, section 2.1.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Status: u8 {
        /// The driver has seen the device.
        const ACKNOWLEDGE = bit(config::VIRTIO_CONFIG_S_ACKNOWLEDGE);
        /// It knows how to drive it.
        const DRIVER = bit(config::VIRTIO_CONFIG_S_DRIVER);
        /// It is ready.
        const DRIVER_OK = bit(config::VIRTIO_CONFIG_S_DRIVER_OK);
        /// Features are agreed on.
        const FEATURES_OK = bit(config::VIRTIO_CONFIG_S_FEATURES_OK);
        /// The device cannot go on until it is reset. The device sets this one.
        const DEVICE_NEEDS_RESET = bit(config::VIRTIO_CONFIG_S_NEEDS_RESET);
        /// The driver has given up.
        const FAILED = bit(config::VIRTIO_CONFIG_S_FAILED);
    }
}
