//! Where on the domain's PCI bus a device of ours goes.
//!
//! libvirt does not know about devices of `<qemu:commandline>`, so it can give their address to
//! one of its own. It goes upwards from the first slot, and names what it has given in the
//! definition; so ours go downwards from a high one that is not named.

use std::collections::BTreeSet;

use roxmltree::Node;

use super::element::{DomainError, named};

/// The slots for our devices. Those above and between are where chipsets have devices: 0x1a and
/// 0x1d USB, 0x1b sound, 0x1e a bridge, 0x1f the ISA bridge.
const SLOTS: [u8; 11] = [0x1c, 0x19, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x10];

/// A domain's first PCI bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// A conventional one.
    Pci,
    /// PCI Express.
    PciExpress,
}

impl Bus {
    /// The bus of a domain.
    ///
    /// # Errors
    /// Its machine has none.
    pub fn of(domain: Node<'_, '_>) -> Result<Self, DomainError> {
        // libvirt names it in the definitions that it gives out.
        let devices = named(domain, "devices");
        let root = devices.flat_map(|devices| named(devices, "controller")).find(|controller| {
            controller.attribute("type") == Some("pci")
                && matches!(controller.attribute("index"), None | Some("0"))
        });
        match root.and_then(|root| root.attribute("model")) {
            Some("pci-root") => return Ok(Bus::Pci),
            Some("pcie-root") => return Ok(Bus::PciExpress),
            _ => {}
        }
        let os_type = named(domain, "os").find_map(|os| named(os, "type").next());
        let machine = os_type.and_then(|kind| kind.attribute("machine")).unwrap_or("pc");
        let begins = |names: &[&str]| names.iter().any(|name| machine.starts_with(name));
        if begins(&["q35", "pc-q35", "virt"]) {
            Ok(Bus::PciExpress)
        } else if begins(&["pc", "pseries"]) {
            Ok(Bus::Pci)
        } else {
            let reason = format!(
                "machine '{machine}' has no PCI bus that is known here; name it with \
                 <controller type='pci' index='0' model='pcie-root'/> (or pci-root) in <devices>"
            );
            Err(DomainError::new(os_type.unwrap_or(domain), reason))
        }
    }

    /// QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Bus::Pci => "pci.0",
            Bus::PciExpress => "pcie.0",
        }
    }
}

/// The slots of a domain's first bus that are free.
#[derive(Debug)]
pub struct FreeSlots(Vec<u8>);

impl FreeSlots {
    /// Finds them; `arguments` are those that QEMU gets already beside libvirt's own.
    pub fn of(domain: Node<'_, '_>, arguments: &[&str]) -> Self {
        let mut taken: BTreeSet<u8> = domain
            .descendants()
            .filter(|node| node.has_tag_name("address") && node.attribute("type") == Some("pci"))
            .filter(|address| number(address.attribute("bus").unwrap_or("0")) == Some(0))
            .filter_map(|address| number(address.attribute("slot")?))
            .collect();
        taken.extend(arguments.iter().flat_map(|argument| addresses_in(argument)));
        FreeSlots(SLOTS.into_iter().filter(|slot| !taken.contains(slot)).collect())
    }

    /// The next one, as QEMU is told.
    pub fn next(&mut self) -> Option<String> {
        (!self.0.is_empty()).then(|| format!("{:#x}", self.0.remove(0)))
    }
}

/// The slots in an argument of QEMU's: `...,addr=0x1c.0` or `"addr":"0x1c"`, which both say it in
/// hexadecimal.
fn addresses_in(argument: &str) -> impl Iterator<Item = u8> + '_ {
    argument.split("addr").skip(1).filter_map(|rest| {
        let rest = rest.trim_start_matches(['"', ':', '=', ' ', '\'']);
        let digits = rest.strip_prefix("0x").unwrap_or(rest);
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        u8::from_str_radix(&digits[..end], 16).ok()
    })
}

fn number(text: &str) -> Option<u8> {
    match text.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn bus(inside: &str) -> Result<Bus, String> {
        let text = format!("<domain>\n{inside}</domain>");
        let document = Document::parse(&text).unwrap();
        Bus::of(document.root_element()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_bus_is_the_machines() {
        let machine = |name: &str| bus(&format!("<os><type machine='{name}'>hvm</type></os>"));
        for name in ["pc-q35-9.2", "q35", "virt", "virt-10.0"] {
            assert_eq!(machine(name), Ok(Bus::PciExpress), "{name}");
        }
        for name in ["pc", "pc-i440fx-9.2", "pseries-9.0"] {
            assert_eq!(machine(name), Ok(Bus::Pci), "{name}");
        }
        assert_eq!(bus(""), Ok(Bus::Pci));
        let ccw = machine("s390-ccw-virtio-9.2").unwrap_err();
        assert!(ccw.starts_with("line 2: <type>: machine 's390-ccw-virtio-9.2' has no"), "{ccw}");
        assert!(machine("microvm").is_err());
    }

    #[test]
    fn a_named_root_counts_more_than_the_machine() {
        let named = "<os><type machine='microvm'>hvm</type></os><devices>\
                     <controller type='usb' index='0' model='pci-root'/>\
                     <controller type='pci' index='0' model='pcie-root'/></devices>";
        assert_eq!(bus(named), Ok(Bus::PciExpress));
    }

    #[test]
    fn slots_in_use_stay_as_they_are() {
        let text = "<domain><devices><disk><address type='pci' bus='0x00' slot='0x1c'/></disk>\
                    <disk><address type='pci' slot='24'/></disk>\
                    <disk><address type='drive' slot='0x17'/></disk>\
                    <disk><address type='pci' bus='0x01' slot='0x16'/></disk></devices></domain>";
        let document = Document::parse(text).unwrap();
        let arguments = ["-device", "e1000,addr=0x15.0", r#"{"driver":"x","addr":"19"}"#];
        let mut slots = FreeSlots::of(document.root_element(), &arguments);
        let all: Vec<String> = std::iter::from_fn(|| slots.next()).collect();
        assert_eq!(all, ["0x17", "0x16", "0x14", "0x13", "0x12", "0x11", "0x10"]);
    }
}
