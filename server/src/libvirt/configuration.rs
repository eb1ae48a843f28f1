//! The configuration file of the server that serves a domain's devices.

use my_rng_server::virtio::Interface;
use serde::Serialize;

use super::rng::Rate;

/// A file with a guest for each device.
#[derive(Debug, Serialize)]
pub struct Configuration {
    /// The guests.
    pub guest: Vec<Guest>,
}

/// A device, and where it is served.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Guest {
    /// Its name, unique in the server.
    pub name: String,
    /// The path of its socket.
    pub socket: String,
    /// Who may connect, where that is not the server's user alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_mode: Option<&'static str>,
    /// What it is.
    #[serde(flatten)]
    pub device: Device,
}

/// What a device is.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "device", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Device {
    /// The teaching device.
    MyRng,
    /// The entropy device.
    VirtioRng {
        /// Its interface.
        virtio: &'static str,
        /// Whether it offers a packed virtqueue.
        packed: bool,
        /// Where its bytes come from.
        source: String,
        /// At most so many of them...
        #[serde(skip_serializing_if = "Option::is_none")]
        max_bytes: Option<u32>,
        /// ...in so many milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        period: Option<u32>,
    },
}

impl Device {
    /// An entropy device.
    pub fn virtio_rng(
        interface: Interface,
        packed: bool,
        source: String,
        rate: Option<Rate>,
    ) -> Self {
        Device::VirtioRng {
            virtio: match interface {
                Interface::Modern => "modern",
                Interface::Transitional => "transitional",
            },
            packed,
            source,
            max_bytes: rate.map(|rate| rate.bytes),
            period: rate.map(|rate| rate.period),
        }
    }
}

impl Configuration {
    /// The file's text.
    ///
    /// # Errors
    /// There is no such text, which is a bug.
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        Ok(format!("# The devices of a libvirt domain.\n\n{}", toml::to_string(self)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use my_rng_server::config;
    use my_rng_server::limiter::Limit;

    use super::*;

    #[test]
    fn a_guest_is_a_table_with_the_servers_keys() {
        let rate = Some(Rate { bytes: 123, period: 1234 });
        let device =
            Device::virtio_rng(Interface::Transitional, true, "file:/a\"b".to_owned(), rate);
        let guest = Guest {
            name: "a b".to_owned(),
            socket: "/run/a b.sock".to_owned(),
            socket_mode: Some("0660"),
            device,
        };
        let teaching = Guest {
            name: "t".to_owned(),
            socket: "/t.sock".to_owned(),
            socket_mode: None,
            device: Device::MyRng,
        };
        assert_eq!(
            Configuration { guest: vec![guest, teaching] }.text().unwrap(),
            "# The devices of a libvirt domain.\n\n\
             [[guest]]\nname = \"a b\"\nsocket = \"/run/a b.sock\"\nsocket-mode = \"0660\"\n\
             device = \"virtio-rng\"\nvirtio = \"transitional\"\npacked = true\n\
             source = 'file:/a\"b'\nmax-bytes = 123\nperiod = 1234\n\n\
             [[guest]]\nname = \"t\"\nsocket = \"/t.sock\"\ndevice = \"my-rng\"\n"
        );
    }
    #[test]
    fn the_server_understands_it() {
        let rate = Some(Rate { bytes: u32::MAX, period: u32::MAX });
        let source = "egd:udp:h:1,local=:2".to_owned();
        let names = ["plain", "a'b <c> & \"d\" \\ ä"];
        let devices =
            [Device::MyRng, Device::virtio_rng(Interface::Transitional, true, source, rate)];
        let guests = names.into_iter().zip(devices).map(|(name, device)| Guest {
            name: name.to_owned(),
            socket: format!("/run/{name}.sock"),
            socket_mode: Some("0660"),
            device,
        });
        let text = Configuration { guest: guests.collect() }.text().unwrap();
        let read = config::Configuration::parse(&text).unwrap();
        assert_eq!(read.guests.iter().map(|guest| guest.name.as_str()).collect::<Vec<_>>(), names);
        let [teaching, entropy] = &read.guests[..] else { panic!("{read:?}") };
        assert_eq!((teaching.device, entropy.device), ("my-rng", "virtio-rng"));
        assert_eq!(teaching.socket_mode, 0o660);
        let period = Duration::from_millis(u32::MAX.into());
        assert_eq!(entropy.settings.limit, Some(Limit::new(u32::MAX.into(), period).unwrap()));
        assert_eq!(entropy.settings.interface, Interface::Transitional);
        assert!(entropy.settings.packed);
        assert_eq!(entropy.source_name(), "egd:udp:h:1,local=:2");
    }
}
