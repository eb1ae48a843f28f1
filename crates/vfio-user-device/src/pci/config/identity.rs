//! The numbers that drivers find a device by.

use std::fmt;

/// Class code of a device, as in the PCI Code and ID Assignment Specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Base class.
    pub base: u8,
    /// Sub-class.
    pub sub: u8,
    /// Programming interface.
    pub interface: u8,
}

impl Class {
    /// Class 00ff00, what QEMU gives to devices that fit nowhere; lspci shows "Unclassified
    /// device".
    pub const UNCLASSIFIED: Class = Class { base: 0x00, sub: 0xff, interface: 0x00 };
}

/// Who a device is: the numbers that drivers are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code.
    pub class: Class,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
}

impl Identity {
    /// An unclassified device, revision 0, with the subsystem 1af4:1100 that QEMU gives to
    /// devices that name none.
    pub const fn new(vendor: u16, device: u16) -> Self {
        Identity {
            vendor,
            device,
            revision: 0,
            class: Class::UNCLASSIFIED,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
        }
    }

    /// Sets the revision.
    pub const fn revision(mut self, revision: u8) -> Self {
        self.revision = revision;
        self
    }

    /// Sets the class code.
    pub const fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Sets the subsystem ids.
    pub const fn subsystem(mut self, vendor: u16, id: u16) -> Self {
        self.subsystem_vendor = vendor;
        self.subsystem = id;
        self
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x} (rev {:02x})", self.vendor, self.device, self.revision)
    }
}
