//! The ports of a machine whose root bus takes no devices while it runs.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::qemu;

/// Which device is in which port.
#[derive(Debug, Default)]
pub struct Ports([Option<String>; qemu::PORTS]);

impl Ports {
    /// Those of a machine with these devices, some of which may be in ports.
    pub fn with(devices: &[Value]) -> Self {
        let in_port = |number| {
            let port = qemu::port(number);
            let device = devices.iter().find(|device| device["bus"].as_str() == Some(&port))?;
            Some(device["id"].as_str().unwrap_or_default().to_owned())
        };
        Self(std::array::from_fn(in_port))
    }

    /// Takes the first free port for a device, and returns the port's name.
    pub fn take(&mut self, device: &str) -> Result<String> {
        let free = self.0.iter().position(Option::is_none);
        let free =
            free.with_context(|| format!("{device}: all {} ports are taken", qemu::PORTS))?;
        self.0[free] = Some(device.to_owned());
        Ok(qemu::port(free))
    }

    /// Frees the port of a device that is gone.
    pub fn give_back(&mut self, device: &str) {
        for port in self.0.iter_mut().filter(|port| port.as_deref() == Some(device)) {
            *port = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_of_devices_that_are_there_are_taken() {
        let devices = [json!({"id": "a", "addr": "0x2"}), json!({"id": "b", "bus": "port0"})];
        let mut ports = Ports::with(&devices);
        assert_eq!(ports.take("c").expect("one is free"), "port1");
        ports.give_back("b");
        assert_eq!(ports.take("d").expect("one is free"), "port0");
    }

    #[test]
    fn port_of_a_device_that_is_gone_is_taken_again() {
        let mut ports = Ports::default();
        let taken: Vec<String> =
            (0..qemu::PORTS).map(|at| ports.take(&at.to_string()).expect("it is free")).collect();
        assert_eq!(taken[..2], ["port0", "port1"]);
        assert!(ports.take("more").is_err());
        ports.give_back("1");
        assert_eq!(ports.take("more").expect("one is free"), "port1");
    }
}
