//! The devices: what a guest sees, without sockets.
//!
//! Each is one file with a type for its [options](MakeDevice). To add one, write the file, and name
//! its options in [`DeviceOptions`] and [`ALL`].

use std::sync::{Arc, OnceLock};

use clap::builder::{PossibleValue, PossibleValuesParser};
use entropy::meter::Meter;
use entropy::service::EntropyControl;
use entropy::source::{SourceError, SourceFactory};

mod make_device;
pub mod my_rng;
mod option_values;
mod options;
pub mod virtio_rng;

pub use make_device::MakeDevice;
pub use options::{DeviceFactory, DeviceOptions, given};

/// The devices that there are. The first is the default.
pub const ALL: &[DeviceFactory] = &[
    DeviceFactory::of::<my_rng::MyRngOptions>(),
    DeviceFactory::of::<virtio_rng::VirtioRngOptions>(),
];

/// What the daemon has for a device.
#[derive(Clone)]
pub struct DeviceContext {
    /// The name of the guest, for the log.
    pub guest: String,
    /// Where random bytes come from.
    pub source: Arc<dyn SourceFactory>,
    /// Counts what the guest is given.
    pub meter: Arc<Meter>,
    /// Changes limit and source later, if the device has any. The first device that is made in this
    /// context sets it, and others go on with the same source and limit.
    pub control: Arc<OnceLock<EntropyControl>>,
}

/// Why a device cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// A generator has nothing to start from.
    #[error("no randomness from the operating system")]
    Generator(#[source] std::io::Error),
    /// There is no eventfd to be woken by.
    #[error("no eventfd for a waker")]
    Waker(#[source] std::io::Error),
    /// The source cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The device with this name.
pub fn find(name: &str) -> Option<&'static DeviceFactory> {
    ALL.iter().find(|factory| factory.name == name)
}

/// The names of all devices, with what they are.
pub fn device_names() -> PossibleValuesParser {
    ALL.iter()
        .map(|factory| PossibleValue::new(factory.name).help(factory.about))
        .collect::<Vec<_>>()
        .into()
}
