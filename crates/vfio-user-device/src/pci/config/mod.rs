//! What a device looks like to its guest.

mod bar;
mod capability;
mod device_config;
mod error;
mod identity;
mod validate;

pub(crate) use bar::BarKind;
pub use bar::{BAR_COUNT, Bar, Register};
pub(crate) use capability::MSIX_ENTRY_SIZE;
pub use capability::{BarWindow, Msix};
pub use device_config::DeviceConfig;
pub use error::ConfigError;
pub use identity::{Class, Identity};
