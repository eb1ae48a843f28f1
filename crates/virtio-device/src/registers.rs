//! The registers of both interfaces, by offset. Code and logs share these; tests write them again,
//! so that a mistake here cannot hide itself.

use vfio_user_device::Register;

/// The common configuration structure, section 4.1.4.3.
pub mod common {
    use super::Register;

    /// Which 32 of the device's feature bits DEVICE_FEATURE shows.
    pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
    /// Feature bits that the device offers.
    pub const DEVICE_FEATURE: u64 = 0x04;
    /// Which 32 of the driver's feature bits DRIVER_FEATURE shows.
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    /// Feature bits that the driver accepts.
    pub const DRIVER_FEATURE: u64 = 0x0c;
    /// MSI-X vector for changes of configuration.
    pub const CONFIG_VECTOR: u64 = 0x10;
    /// How many queues there are.
    pub const QUEUE_COUNT: u64 = 0x12;
    /// Device status; 0 resets the device.
    pub const STATUS: u64 = 0x14;
    /// Changes with the device's configuration, which is empty here.
    pub const CONFIG_GENERATION: u64 = 0x15;
    /// Which queue the registers from here on are about.
    pub const QUEUE_SELECT: u64 = 0x16;
    /// Descriptors of the queue.
    pub const QUEUE_SIZE: u64 = 0x18;
    /// MSI-X vector for completions.
    pub const QUEUE_VECTOR: u64 = 0x1a;
    /// 1 enables the queue.
    pub const QUEUE_ENABLE: u64 = 0x1c;
    /// Which place in the notification structure is the queue's.
    pub const QUEUE_NOTIFY_OFFSET: u64 = 0x1e;
    /// Address of the descriptor area, low and high half.
    pub const QUEUE_DESCRIPTORS: u64 = 0x20;
    /// Address of the driver area.
    pub const QUEUE_DRIVER: u64 = 0x28;
    /// Address of the device area.
    pub const QUEUE_DEVICE: u64 = 0x30;

    /// All of them.
    pub const ALL: [Register; 16] = [
        Register::new("DEVICE_FEATURE_SELECT", DEVICE_FEATURE_SELECT, 4),
        Register::new("DEVICE_FEATURE", DEVICE_FEATURE, 4),
        Register::new("DRIVER_FEATURE_SELECT", DRIVER_FEATURE_SELECT, 4),
        Register::new("DRIVER_FEATURE", DRIVER_FEATURE, 4),
        Register::new("CONFIG_VECTOR", CONFIG_VECTOR, 2),
        Register::new("QUEUE_COUNT", QUEUE_COUNT, 2),
        Register::new("STATUS", STATUS, 1),
        Register::new("CONFIG_GENERATION", CONFIG_GENERATION, 1),
        Register::new("QUEUE_SELECT", QUEUE_SELECT, 2),
        Register::new("QUEUE_SIZE", QUEUE_SIZE, 2),
        Register::new("QUEUE_VECTOR", QUEUE_VECTOR, 2),
        Register::new("QUEUE_ENABLE", QUEUE_ENABLE, 2),
        Register::new("QUEUE_NOTIFY_OFFSET", QUEUE_NOTIFY_OFFSET, 2),
        Register::new("QUEUE_DESCRIPTORS", QUEUE_DESCRIPTORS, 8),
        Register::new("QUEUE_DRIVER", QUEUE_DRIVER, 8),
        Register::new("QUEUE_DEVICE", QUEUE_DEVICE, 8),
    ];
}

/// The legacy interface's registers, section 4.1.4.10.
pub mod legacy {
    use super::Register;

    /// The first 32 feature bits that the device offers.
    pub const DEVICE_FEATURE: u64 = 0x00;
    /// Those that the driver accepts.
    pub const DRIVER_FEATURE: u64 = 0x04;
    /// Number of the page at which the queue lies; 0 takes it back.
    pub const QUEUE_PAGE: u64 = 0x08;
    /// Descriptors of the queue.
    pub const QUEUE_SIZE: u64 = 0x0c;
    /// Which queue QUEUE_PAGE and QUEUE_SIZE are about.
    pub const QUEUE_SELECT: u64 = 0x0e;
    /// The number of a queue with new requests.
    pub const QUEUE_NOTIFY: u64 = 0x10;
    /// Device status; 0 resets the device.
    pub const STATUS: u64 = 0x12;
    /// Why the device interrupts; reading it takes the interrupt back.
    pub const ISR: u64 = 0x13;
    /// MSI-X vector for changes of configuration. Like the next, it is there while MSI-X is
    /// enabled.
    pub const CONFIG_VECTOR: u64 = 0x14;
    /// MSI-X vector for completions.
    pub const QUEUE_VECTOR: u64 = 0x16;
    /// Bytes of all that, rounded up to a size that a BAR can have.
    pub const SIZE: u64 = 0x20;
    /// What QUEUE_PAGE counts in, and the used ring is aligned to.
    pub const PAGE_SIZE: u64 = 4096;

    /// All of them.
    pub const ALL: [Register; 10] = [
        Register::new("DEVICE_FEATURE", DEVICE_FEATURE, 4),
        Register::new("DRIVER_FEATURE", DRIVER_FEATURE, 4),
        Register::new("QUEUE_PAGE", QUEUE_PAGE, 4),
        Register::new("QUEUE_SIZE", QUEUE_SIZE, 2),
        Register::new("QUEUE_SELECT", QUEUE_SELECT, 2),
        Register::new("QUEUE_NOTIFY", QUEUE_NOTIFY, 2),
        Register::new("STATUS", STATUS, 1),
        Register::new("ISR", ISR, 1),
        Register::new("CONFIG_VECTOR", CONFIG_VECTOR, 2),
        Register::new("QUEUE_VECTOR", QUEUE_VECTOR, 2),
    ];
}
