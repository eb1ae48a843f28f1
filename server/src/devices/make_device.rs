//! How a device is made of its options.

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vfio_user_device::Device;

use super::{DeviceContext, MakeError};

/// The options of a device, and how one is made with them.
///
/// What nothing is said of has the value of `Default`. Keys are the fields' names in kebab case.
pub trait MakeDevice: Args + Clone + Default + DeserializeOwned + Serialize {
    /// The device's name on the command line and in the file.
    const NAME: &'static str;
    /// What it is, in one line.
    const ABOUT: &'static str;

    /// Makes a device.
    ///
    /// # Errors
    /// Its source cannot be opened, or the system has no more descriptors.
    fn make(&self, context: &DeviceContext) -> Result<Box<dyn Device>, MakeError>;

    /// The same options without those that can change while a client is connected.
    #[must_use]
    fn fixed(&self) -> Self {
        self.clone()
    }
}
