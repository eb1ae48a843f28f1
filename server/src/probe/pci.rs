//! Places and bits of configuration space that the probe understands.
//!
//! PCI Local Bus Specification 3.0, chapter 6; PCI Bus Power Management 1.2; PCI Express Base
//! Specification, section 7.8; virtio 1.2, section 4.1.4.

/// Bytes of the space without PCI Express.
pub const CONFIG_SIZE: u64 = 256;

/// The type 0 header.
pub mod header {
    pub const VENDOR_ID: u64 = 0x00;
    pub const DEVICE_ID: u64 = 0x02;
    pub const STATUS: u64 = 0x06;
    pub const REVISION: u64 = 0x08;
    pub const PROGRAMMING_INTERFACE: u64 = 0x09;
    /// Base class and subclass.
    pub const CLASS: u64 = 0x0a;
    pub const BARS: u64 = 0x10;
    pub const BARS_END: u64 = 0x28;
    pub const SUBSYSTEM_VENDOR_ID: u64 = 0x2c;
    pub const SUBSYSTEM_ID: u64 = 0x2e;
    pub const CAPABILITIES_POINTER: u64 = 0x34;
    pub const INTERRUPT_PIN: u64 = 0x3d;
    /// Where the header ends and capabilities may begin.
    pub const END: u64 = 0x40;
}

/// Bit of the status register: there is a list of capabilities.
pub const STATUS_CAPABILITIES: u64 = 1 << 4;

/// Low bits of a BAR.
pub mod bar {
    pub const IO: u64 = 1 << 0;
    pub const TYPE: u64 = 3 << 1;
    pub const MEMORY_64: u64 = 2 << 1;
    pub const PREFETCHABLE: u64 = 1 << 3;
    /// The bits that are no address, in a BAR of memory and of I/O ports.
    pub const MEMORY_FLAGS: u64 = 0xf;
    pub const IO_FLAGS: u64 = 0x3;
}

/// Ids of capabilities.
pub mod id {
    pub const POWER_MANAGEMENT: u8 = 0x01;
    pub const MSI: u8 = 0x05;
    pub const VENDOR_SPECIFIC: u8 = 0x09;
    pub const PCI_EXPRESS: u8 = 0x10;
    pub const MSIX: u8 = 0x11;
}

/// Message control of MSI.
pub mod msi {
    pub const ENABLE: u16 = 1 << 0;
    pub const ADDRESS_64: u16 = 1 << 7;
    pub const MASKABLE: u16 = 1 << 8;
}

/// Message control of MSI-X, and its two places in BARs.
pub mod msix {
    pub const TABLE_SIZE: u16 = 0x7ff;
    pub const MASKED: u16 = 1 << 14;
    pub const ENABLE: u16 = 1 << 15;
    /// Bits of a place that name the BAR; the others are the offset.
    pub const BAR: u32 = 7;
}

/// Vendor of all virtio devices.
pub const VIRTIO_VENDOR: u64 = 0x1af4;

/// What a virtio capability is about.
pub mod virtio {
    pub const COMMON: u8 = 1;
    pub const NOTIFY: u8 = 2;
    pub const ISR: u8 = 3;
    pub const DEVICE: u8 = 4;
    pub const PCI_ACCESS: u8 = 5;
    pub const SHARED_MEMORY: u8 = 8;
}
