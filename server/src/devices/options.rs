//! What a device can be told, each option declared once: in the device's own options type.
//!
//! Such a type derives `clap::Args` and serde's traits. The command line, the configuration file
//! and the file that `my-rng-server libvirt` writes all take an option's name, default, range and
//! help from its field.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde::Serialize;
use toml::Spanned;
use toml::de::DeTable;
use vfio_user_device::Device;

use super::my_rng::MyRngOptions;
use super::virtio_rng::VirtioRngOptions;
use super::{DeviceContext, MakeDevice, MakeError};

/// The options of one of the devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "device", rename_all = "kebab-case")]
pub enum DeviceOptions {
    /// Of the teaching device.
    MyRng(MyRngOptions),
    /// Of the entropy device.
    VirtioRng(VirtioRngOptions),
}

impl From<MyRngOptions> for DeviceOptions {
    fn from(options: MyRngOptions) -> Self {
        DeviceOptions::MyRng(options)
    }
}

impl From<VirtioRngOptions> for DeviceOptions {
    fn from(options: VirtioRngOptions) -> Self {
        DeviceOptions::VirtioRng(options)
    }
}

impl DeviceOptions {
    /// The device's name.
    pub fn device(&self) -> &'static str {
        match self {
            DeviceOptions::MyRng(_) => MyRngOptions::NAME,
            DeviceOptions::VirtioRng(_) => VirtioRngOptions::NAME,
        }
    }

    /// Lets the device go on where it is when a client goes.
    pub fn keep_state(&mut self) {
        match self {
            DeviceOptions::MyRng(options) => options.keep_state = true,
            // Its source is not the client's.
            DeviceOptions::VirtioRng(_) => {}
        }
    }

    /// Makes the device.
    ///
    /// # Errors
    /// As [`MakeDevice::make`].
    pub fn make(&self, context: &DeviceContext) -> Result<Box<dyn Device>, MakeError> {
        match self {
            DeviceOptions::MyRng(options) => options.make(context),
            DeviceOptions::VirtioRng(options) => options.make(context),
        }
    }

    /// The keys, `device` among them, that differ and cannot change while a client is connected.
    pub fn fixed_keys_that_differ(&self, after: &DeviceOptions) -> Vec<String> {
        if self.device() != after.device() {
            return vec!["device".to_owned()];
        }
        let (before, after) = (self.fixed_table(), after.fixed_table());
        let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.retain(|key| before.get(*key) != after.get(*key));
        keys.into_iter().cloned().collect()
    }

    fn fixed_table(&self) -> toml::Table {
        let table = match self {
            DeviceOptions::MyRng(options) => toml::Table::try_from(options.fixed()),
            DeviceOptions::VirtioRng(options) => toml::Table::try_from(options.fixed()),
        };
        table.expect("options are texts, numbers and flags")
    }
}

/// A device that can be asked for by its name, and its options.
pub struct DeviceFactory {
    /// Its name.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    add_to: fn(Command) -> Command,
    from_matches: fn(&ArgMatches) -> Result<DeviceOptions, clap::Error>,
    from_table: fn(Spanned<DeTable<'_>>) -> Result<DeviceOptions, toml::de::Error>,
}

impl DeviceFactory {
    /// The factory of the device that has these options.
    pub(super) const fn of<O: MakeDevice>() -> Self
    where
        DeviceOptions: From<O>,
    {
        DeviceFactory {
            name: O::NAME,
            about: O::ABOUT,
            add_to: O::augment_args,
            from_matches: |matches| O::from_arg_matches(matches).map(DeviceOptions::from),
            from_table: |table| {
                O::deserialize(toml::Deserializer::from(table)).map(DeviceOptions::from)
            },
        }
    }

    /// Adds the options to a command.
    pub fn add_options(&self, command: Command) -> Command {
        // Else the description of the options would become that of the command.
        let about = (command.get_about().cloned(), command.get_long_about().cloned());
        (self.add_to)(command)
            .about(about.0.unwrap_or_default())
            .long_about(about.1.unwrap_or_default())
    }

    /// The options on the command line of a command to which they were added.
    ///
    /// # Errors
    /// Never, after clap has checked the command line.
    pub fn options_of_matches(&self, matches: &ArgMatches) -> Result<DeviceOptions, clap::Error> {
        (self.from_matches)(matches)
    }

    /// The options in a table of the configuration file.
    ///
    /// # Errors
    /// The first key that is unknown, or has an invalid value.
    pub fn options_of_table(
        &self,
        table: Spanned<DeTable<'_>>,
    ) -> Result<DeviceOptions, toml::de::Error> {
        (self.from_table)(table)
    }

    /// The names of its options, as they are on the command line without the dashes.
    pub fn option_names(&self) -> Vec<String> {
        let command = self.add_options(Command::new(self.name));
        command.get_arguments().filter_map(|option| option.get_long()).map(str::to_owned).collect()
    }
}

/// Whether an option is on the command line.
pub fn given(matches: &ArgMatches, option: &str) -> bool {
    // clap knows an option by its field.
    let field = option.replace('-', "_");
    matches.value_source(&field).is_some_and(|source| source == ValueSource::CommandLine)
}
