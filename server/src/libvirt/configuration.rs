//! The configuration file of the server that serves a domain's devices.

use my_rng_server::devices::DeviceOptions;
use serde::Serialize;

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
    /// Permissions of the socket, unless only the server's user may connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_mode: Option<&'static str>,
    /// Its device.
    #[serde(flatten)]
    pub device: DeviceOptions,
}

impl Configuration {
    /// The file's text.
    ///
    /// # Errors
    /// A bug: the guests cannot be written as TOML.
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        Ok(format!("# The devices of a libvirt domain.\n\n{}", toml::to_string(self)?))
    }
}

#[cfg(test)]
mod tests {
    use entropy::limiter::Limit;
    use my_rng_server::config;
    use my_rng_server::devices::my_rng::MyRngOptions;
    use my_rng_server::devices::virtio_rng::VirtioRngOptions;
    use virtio_device::Interface;

    use super::*;

    fn virtio_rng(source: &str, limit: Limit) -> DeviceOptions {
        let options = VirtioRngOptions {
            virtio: Interface::Transitional,
            packed: true,
            source: source.parse().unwrap(),
            max_bytes: Some(limit.max_bytes),
            period: limit.period,
            ..VirtioRngOptions::default()
        };
        options.into()
    }

    fn limit(bytes: u32, milliseconds: u32) -> Limit {
        let period = std::time::Duration::from_millis(milliseconds.into());
        Limit::new(bytes.into(), period).unwrap()
    }

    #[test]
    fn a_guest_is_a_table_with_the_servers_keys() {
        let guest = Guest {
            name: "a b".to_owned(),
            socket: "/run/a b.sock".to_owned(),
            socket_mode: Some("0660"),
            device: virtio_rng("file:/a\"b", limit(123, 1234)),
        };
        let teaching = Guest {
            name: "t".to_owned(),
            socket: "/t.sock".to_owned(),
            socket_mode: None,
            device: MyRngOptions::default().into(),
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
        let limit = limit(u32::MAX, u32::MAX);
        let names = ["plain", "a'b <c> & \"d\" \\ ä"];
        let entropy = virtio_rng("egd:udp:h:1,local=:2", limit);
        let devices = [MyRngOptions { seed: Some(7), ..Default::default() }.into(), entropy];
        let guests = names.into_iter().zip(devices.clone()).map(|(name, device)| Guest {
            name: name.to_owned(),
            socket: format!("/run/{name}.sock"),
            socket_mode: Some("0660"),
            device,
        });
        let text = Configuration { guest: guests.collect() }.text().unwrap();
        let read = config::Configuration::parse(&text).unwrap();
        assert_eq!(read.guests.iter().map(|guest| guest.name.as_str()).collect::<Vec<_>>(), names);
        assert!(read.guests.iter().map(|guest| &guest.device).eq(&devices));
        assert_eq!(read.guests[0].socket_mode, 0o660);
        assert_eq!(read.guests[1].limit(), Some(limit));
        assert_eq!(read.guests[1].source_name(), "egd:udp:h:1,local=:2");
    }
}
