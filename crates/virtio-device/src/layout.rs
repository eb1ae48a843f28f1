//! What a virtio device looks like on the PCI bus: identity, BARs, capabilities.
//!
//! The places are those of QEMU's own virtio devices, so that a driver that was only ever tried
//! with them finds nothing new.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use vfio_user_device::{Bar, BarWindow, Class, DeviceConfig, Identity, Msix, Register};
use zerocopy::little_endian::U32;
use zerocopy::{Immutable, IntoBytes};

use super::registers::{common, legacy};

/// Which interface the driver finds, section 4.1.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    /// The one of the specification, for drivers since Linux 4.0.
    #[default]
    Modern,
    /// That one, and beside it the legacy interface in I/O ports, for older drivers.
    Transitional,
}

impl Interface {
    /// All of them.
    pub const ALL: [Interface; 2] = [Interface::Modern, Interface::Transitional];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Interface::Modern => "modern",
            Interface::Transitional => "transitional",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}; expected one of modern, transitional")]
pub struct InterfaceError(String);

impl FromStr for Interface {
    type Err = InterfaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Interface::ALL.into_iter().find(|interface| interface.name() == text);
        found.ok_or_else(|| InterfaceError(text.into()))
    }
}

/// What a virtio device is, with its number in section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum DeviceType {
    /// An entropy device.
    Entropy = 4,
}

impl DeviceType {
    /// The PCI device id of a transitional device, section 4.1.2.1.
    const fn transitional_id(self) -> u16 {
        match self {
            DeviceType::Entropy => 0x1005,
        }
    }
}

/// Vendor id of all virtio devices.
const VENDOR_ID: u16 = 0x1af4;
/// What a device type's number is added to for its PCI device id, section 4.1.2.1.
const MODERN_DEVICE_ID: u16 = 0x1040;
/// Subsystem id that QEMU gives to devices.
const SUBSYSTEM_ID: u16 = 0x1100;

/// The BAR of the legacy interface.
pub const LEGACY_BAR: usize = 0;
/// The BAR of MSI-X.
const MSIX_BAR: usize = 1;
/// The BAR of the modern interface.
pub const MODERN_BAR: usize = 4;
/// Its size in bytes.
const MODERN_SIZE: u64 = 0x4000;

/// The common configuration structure in the modern interface's BAR.
pub const COMMON: Range<u64> = 0x0000..0x1000;
/// The ISR status.
pub const ISR: Range<u64> = 0x1000..0x2000;
/// The device's configuration structure, which is empty.
pub const DEVICE: Range<u64> = 0x2000..0x3000;
/// Where the driver notifies.
pub const NOTIFY: Range<u64> = 0x3000..0x4000;
/// Bytes from one queue's place there to the next one's.
const NOTIFY_MULTIPLIER: u32 = 4;

/// MSI-X vectors: one for changes of configuration, one for the queue.
pub const VECTORS: u16 = 2;
const MSIX: Msix = Msix { vectors: VECTORS, bar: MSIX_BAR, table: 0, pba: 0x800 };

/// PCI's id of vendor specific capabilities.
const VENDOR_SPECIFIC: u8 = 0x09;
/// What a virtio capability is about, section 4.1.4.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Structure {
    Common = 1,
    Notify = 2,
    Isr = 3,
    Device = 4,
    ConfigurationAccess = 5,
}

/// `struct virtio_pci_cap` of section 4.1.4 behind id and next pointer.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct CapabilityBody {
    length: u8,
    structure: u8,
    bar: u8,
    id: u8,
    padding: [u8; 2],
    offset: U32,
    size: U32,
    /// The notification multiplier, or the window's data.
    tail: U32,
}

/// Bytes of a capability with `tail`, and without.
const LONG_CAPABILITY: u8 = 20;
const SHORT_CAPABILITY: u8 = 16;

/// Where a driver writes in the window of section 4.1.4.9, from the capability's start.
const WINDOW: BarWindow = BarWindow { bar: 4, offset: 8, length: 12, data: 16 };

fn capability(structure: Structure, place: Range<u64>, tail: Option<u32>) -> Vec<u8> {
    let within_bar = |value: u64| U32::new(u32::try_from(value).unwrap_or(u32::MAX));
    let length = if tail.is_some() { LONG_CAPABILITY } else { SHORT_CAPABILITY };
    let body = CapabilityBody {
        length,
        structure: structure as u8,
        // 4.
        bar: MODERN_BAR.to_le_bytes()[0],
        id: 0,
        padding: [0; 2],
        offset: within_bar(place.start),
        size: within_bar(place.end - place.start),
        tail: U32::new(tail.unwrap_or(0)),
    };
    let mut bytes = body.as_bytes().to_vec();
    bytes.truncate(usize::from(length) - 2);
    bytes
}

/// The description of a virtio device.
pub fn device_config(device: DeviceType, interface: Interface, msix: bool) -> DeviceConfig {
    let identity = match interface {
        Interface::Modern => Identity::new(VENDOR_ID, MODERN_DEVICE_ID + device as u16)
            .revision(1)
            .subsystem(VENDOR_ID, SUBSYSTEM_ID),
        // Section 4.1.2.1: drivers know a transitional device by revision and subsystem id.
        Interface::Transitional => {
            Identity::new(VENDOR_ID, device.transitional_id()).subsystem(VENDOR_ID, device as u16)
        }
    };
    let mut registers = common::ALL.to_vec();
    registers.push(Register::new("ISR", ISR.start, 1));
    registers.push(Register::new("NOTIFY", NOTIFY.start, 2));
    // Reading ISR has a side effect, and prefetchable it is all the same, as QEMU's.
    let modern = Bar::memory64(MODERN_SIZE).prefetchable().registers(&registers);
    let mut description = DeviceConfig::new(identity.class(Class::UNCLASSIFIED))
        .bar(MODERN_BAR, modern)
        .interrupt_pin()
        .window_capability(
            VENDOR_SPECIFIC,
            capability(Structure::ConfigurationAccess, 0..0, Some(0)),
            WINDOW,
        )
        .capability(VENDOR_SPECIFIC, capability(Structure::Notify, NOTIFY, Some(NOTIFY_MULTIPLIER)))
        .capability(VENDOR_SPECIFIC, capability(Structure::Device, DEVICE, None))
        .capability(VENDOR_SPECIFIC, capability(Structure::Isr, ISR, None))
        .capability(VENDOR_SPECIFIC, capability(Structure::Common, COMMON, None));
    if msix {
        description = description.bar(MSIX_BAR, Bar::memory32(4096)).msix(MSIX);
    }
    if interface == Interface::Transitional {
        let ports = Bar::io(legacy::SIZE).registers(&legacy::ALL);
        description = description.bar(LEGACY_BAR, ports);
    }
    description
}
