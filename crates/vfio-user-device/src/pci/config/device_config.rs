//! What a device looks like to its guest: identity, BARs, interrupts, capabilities.

use super::bar::{BAR_COUNT, Bar};
use super::capability::{BarWindow, Capability, Msix};
use super::error::ConfigError;
use super::identity::Identity;

/// All that a guest sees of a device before it touches a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    pub(crate) identity: Identity,
    pub(crate) bars: [Option<Bar>; BAR_COUNT],
    pub(crate) interrupt_pin: bool,
    /// Number of MSI vectors.
    pub(crate) msi: Option<u16>,
    pub(crate) msix: Option<Msix>,
    pub(crate) capabilities: Vec<Capability>,
    /// A first_error made while building, for [`DeviceConfig::validate`] to report.
    pub(super) first_error: Option<ConfigError>,
}

impl DeviceConfig {
    /// A device without BARs, interrupts and capabilities.
    pub fn new(identity: Identity) -> Self {
        DeviceConfig {
            identity,
            bars: Default::default(),
            interrupt_pin: false,
            msi: None,
            msix: None,
            capabilities: Vec::new(),
            first_error: None,
        }
    }

    /// Adds BAR `index`, 0 to 5.
    pub fn bar(mut self, index: usize, bar: Bar) -> Self {
        match self.bars.get_mut(index) {
            Some(Some(_)) => self.first_error = Some(ConfigError::BarTwice(index)),
            Some(slot) => *slot = Some(bar),
            None => self.first_error = Some(ConfigError::NoSuchBar(index)),
        }
        self
    }

    /// Adds the interrupt pin INTA#.
    pub fn interrupt_pin(mut self) -> Self {
        self.interrupt_pin = true;
        self
    }

    /// Adds MSI with 1, 2, 4, 8, 16 or 32 vectors. It needs no place in a BAR. The interrupt pin may
    /// stand beside it, for drivers without MSI, and so may MSI-X: a driver uses one of the three at
    /// a time.
    pub fn msi(mut self, vectors: u16) -> Self {
        self.msi = Some(vectors);
        self
    }

    /// Adds MSI-X.
    pub fn msix(mut self, msix: Msix) -> Self {
        self.msix = Some(msix);
        self
    }

    /// Adds a capability with this id (0x09 for "vendor specific"); `body` is what follows id and
    /// next pointer. All of it is read-only. MSI and MSI-X are not added this way, and those that
    /// drivers write to (PCI Express, power management and the like) are not supported.
    pub fn capability(mut self, id: u8, body: Vec<u8>) -> Self {
        self.capabilities.push(Capability { id, body, window: None });
        self
    }

    /// Adds a capability with a window to the BARs in it, of which a device has one at most. All
    /// of it but the window's fields is read-only.
    pub fn window_capability(mut self, id: u8, body: Vec<u8>, window: BarWindow) -> Self {
        self.capabilities.push(Capability { id, body, window: Some(window) });
        self
    }
}
