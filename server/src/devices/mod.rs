//! The devices: what a guest sees, without sockets.
//!
//! Each is one file that exports a [`Kind`]. To add one, write the file and name it here.

use vfio_user_kit::Device;

use crate::generator::Generator;

pub mod my_rng;

/// The devices that there are.
pub const ALL: &[Kind] = &[my_rng::KIND];

/// A kind of device: how it is asked for, and how one is made.
pub struct Kind {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Makes one.
    pub make: fn(Settings) -> Box<dyn Device>,
}

/// What the command line has for a device.
pub struct Settings {
    /// Where its numbers come from.
    pub generator: Box<dyn Generator>,
}

/// The kind with this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.name == name)
}
