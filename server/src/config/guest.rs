//! Validates a `[[guest]]`: its own keys, and the options of its device.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::amount::BandwidthTable;
use super::check::{Validator, reason};
use super::known_names::KnownNames;
use super::{Guest, GuestSource, Transport};
use crate::devices::my_rng::MyRngOptions;
use crate::devices::virtio_rng::VirtioRngOptions;
use crate::devices::{self, DeviceFactory, DeviceOptions, MakeDevice};
use entropy::source::Specification;

/// Permissions of a socket file of which nothing is said.
const SOCKET_MODE: u32 = 0o600;

/// The keys of a `[[guest]]` beside the options of its device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct GuestTable {
    name: Spanned<String>,
    socket: Spanned<PathBuf>,
    socket_mode: Option<Spanned<String>>,
    transport: Option<Spanned<String>>,
    device: Option<Spanned<String>>,
    bandwidth: Option<Spanned<BandwidthTable>>,
    #[serde(default)]
    disconnect: bool,
}

/// The part of a guest's table that is for its device.
type Options<'a> = Spanned<DeTable<'a>>;

/// Takes the device's options out of a guest's table.
fn take_options<'a>(table: &mut Spanned<DeTable<'a>>, known: &BTreeSet<String>) -> Options<'a> {
    let mut options = Spanned::new(table.span(), DeTable::new());
    for key in known {
        if let Some((key, value)) = table.get_mut().remove_entry(key.as_str()) {
            options.get_mut().insert(key, value);
        }
    }
    options
}

impl<L: Fn(usize) -> usize> Validator<L> {
    /// A guest, unless its own keys cannot be read.
    pub(super) fn guest(
        &mut self,
        mut table: Spanned<DeTable<'_>>,
        known: &KnownNames<'_>,
    ) -> Option<Guest> {
        let start = table.span().start;
        let mut options = take_options(&mut table, &known.options);
        let table = GuestTable::deserialize(toml::Deserializer::from(table));
        let table = table.map_err(|error| {
            let mut reason = error.message().to_owned();
            if reason.starts_with("unknown field") {
                let options: Vec<_> = known.options.iter().map(String::as_str).collect();
                reason += &format!(", or an option of its device: `{}`", options.join("`, `"));
            }
            self.note_at(error.span().map_or(start, |span| span.start), reason);
        });
        let table = table.ok()?;
        let name = self.name("guest", &table.name);
        self.socket("socket", &table.socket);
        let transport = table.transport.as_ref().and_then(|text| {
            let transport = text.get_ref().parse::<Transport>();
            self.valid(text, "transport", transport)
        });
        let transport = transport.unwrap_or_default();
        let factory = self.device(&table, transport);
        let socket_mode = self.socket_mode(&table);
        self.drop_useless_options(&mut options, known, factory, transport);
        let parent = self.take_shared_source(&mut options, known);
        let device = self.device_options(&options, factory);
        let source = self.guest_source(&table, &options, parent, &device);
        Some(Guest {
            name,
            socket_mode,
            transport,
            device,
            source,
            disconnect: table.disconnect,
            socket: table.socket.into_inner(),
        })
    }

    fn socket_mode(&mut self, table: &GuestTable) -> u32 {
        let Some(mode) = &table.socket_mode else { return SOCKET_MODE };
        let parsed = u32::from_str_radix(mode.get_ref(), 8).ok().filter(|mode| *mode <= 0o777);
        let parsed = parsed
            .ok_or_else(|| format!("{:?}; expected an octal number up to 777", mode.get_ref()));
        self.valid(mode, "socket-mode", parsed).unwrap_or(SOCKET_MODE)
    }

    fn device(&mut self, table: &GuestTable, transport: Transport) -> &'static DeviceFactory {
        let default = match transport {
            Transport::VfioUser => MyRngOptions::NAME,
            Transport::VhostUser => VirtioRngOptions::NAME,
        };
        let default = devices::find(default).expect("each device is in ALL");
        let Some(name) = &table.device else { return default };
        let found = devices::find(name.get_ref()).ok_or_else(|| {
            let all: Vec<&str> = devices::ALL.iter().map(|factory| factory.name).collect();
            format!("{:?}; expected one of {}", name.get_ref(), all.join(", "))
        });
        let factory = self.valid(name, "device", found).unwrap_or(default);
        if transport == Transport::VhostUser && factory.name != VirtioRngOptions::NAME {
            let reason = format!("device: vhost-user has only virtio-rng, not {}", factory.name);
            self.note(name, reason);
        }
        factory
    }

    /// Notes options that the guest's device does not have, or not with its transport.
    fn drop_useless_options(
        &mut self,
        options: &mut Options<'_>,
        known: &KnownNames<'_>,
        factory: &DeviceFactory,
        transport: Transport,
    ) {
        let all = std::mem::take(options.get_mut());
        let useful = all.into_iter().filter(|(key, value)| {
            let key = key.get_ref().as_ref();
            let reason = if !known.has_option(factory, key) {
                format!("{key}: not an option of device {}", factory.name)
            } else if transport == Transport::VhostUser && VirtioRngOptions::OF_VMM.contains(&key) {
                format!("{key}: with vhost-user, the VMM decides this")
            } else {
                return true;
            };
            self.note(value, reason);
            false
        });
        *options.get_mut() = useful.collect();
    }

    /// Takes the source out of the options if it is a shared one, or a group.
    fn take_shared_source(
        &mut self,
        options: &mut Options<'_>,
        known: &KnownNames<'_>,
    ) -> Option<String> {
        let DeValue::String(source) = options.get_ref().get("source")?.get_ref() else {
            return None;
        };
        let parent = Some(source.to_string()).filter(|name| known.classes.contains(name.as_str()));
        if parent.is_some() {
            options.get_mut().remove("source");
            if let Some(file_loop) = enabled_file_loop(options) {
                self.note(&file_loop, "file-loop: set it in the shared [[source]]");
                options.get_mut().remove("file-loop");
            }
            if let Some(health) = options.get_mut().remove("health") {
                self.note(&health, "health: set it in the shared [[source]]");
            }
        }
        parent
    }

    /// Reads each option alone, so that everything that is wrong is noted, and then all together.
    fn device_options(&mut self, options: &Options<'_>, factory: &DeviceFactory) -> DeviceOptions {
        let mut valid = Spanned::new(options.span(), DeTable::new());
        for (key, value) in options.get_ref() {
            let mut one = DeTable::new();
            one.insert(key.clone(), value.clone());
            match factory.options_of_table(Spanned::new(options.span(), one)) {
                Ok(_) => drop(valid.get_mut().insert(key.clone(), value.clone())),
                Err(error) => {
                    let key = key.get_ref();
                    let classes = match key.as_ref() {
                        "source" => "; or the name of a [[source]] or [[group]]",
                        _ => "",
                    };
                    let place = error.span().unwrap_or(value.span());
                    self.note_at(place.start, format!("{}{classes}", reason(key, &error)));
                }
            }
        }
        factory.options_of_table(valid).expect("each option is valid alone")
    }

    fn guest_source(
        &mut self,
        table: &GuestTable,
        options: &Options<'_>,
        parent: Option<String>,
        device: &DeviceOptions,
    ) -> GuestSource {
        if let Some(parent) = parent {
            let bandwidth = table.bandwidth.as_ref().map(|table| (*table.get_ref()).into());
            let bandwidth = bandwidth.unwrap_or_default();
            return GuestSource::Shared { parent, bandwidth };
        }
        let source = options.get_ref().get("source");
        if let Some(bandwidth) = &table.bandwidth {
            let reason = match source.map(Spanned::get_ref) {
                Some(DeValue::String(name)) => {
                    format!("bandwidth: {name:?} is not a shared [[source]] or [[group]]")
                }
                _ => "bandwidth: only a guest of a shared source has one; set source".to_owned(),
            };
            self.note(bandwidth, reason);
        }
        let DeviceOptions::VirtioRng(device) = device else {
            return GuestSource::Own(Specification::default());
        };
        let own =
            device.specification().map_err(|error| match (source, enabled_file_loop(options)) {
                (None, Some(file_loop)) => {
                    self.note(&file_loop, "file-loop: only a file can be read again; set source");
                }
                (Some(source), _) => self.note(source, format!("invalid source: {error}")),
                (None, None) => {}
            });
        GuestSource::Own(own.unwrap_or_default())
    }
}

/// Where `file-loop = true` stands.
fn enabled_file_loop(options: &Options<'_>) -> Option<Spanned<()>> {
    let value = options.get_ref().get("file-loop")?;
    let enabled = matches!(value.get_ref(), DeValue::Boolean(true));
    enabled.then(|| Spanned::new(value.span(), ()))
}
