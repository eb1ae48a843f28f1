//! What a domain can have that a device in another process does not work with. It is refused or
//! named when the domain is converted, before its guest fails.

use std::collections::BTreeSet;

use roxmltree::Node;

use super::edits::Edits;
use super::element::{DomainError, line, named};
use super::layout::Layout;
use super::options::{QemuOption, options};
use super::rng::is_users_alias;

/// Checks a domain, and returns what its owner has to know.
///
/// # Errors
/// It has something that does not work with the device.
pub fn check(domain: Node<'_, '_>) -> Result<Vec<String>, DomainError> {
    check_type(domain)?;
    if let Some(security) = named(domain, "launchSecurity").next() {
        let kind = security.attribute("type").unwrap_or("unknown");
        return Err(encrypted(security, kind));
    }
    check_aliases(domain)?;
    check_iommus(domain)?;
    let mut notes = Vec::new();
    for option in options(domain) {
        notes.extend(check_option(&option)?);
    }
    Ok(notes)
}

/// Only QEMU on Linux has devices of other processes.
fn check_type(domain: Node<'_, '_>) -> Result<(), DomainError> {
    let reason = match domain.attribute("type") {
        None | Some("kvm" | "qemu") => return Ok(()),
        Some("hvf") => {
            "a domain of type 'hvf' runs on macOS, where the server and QEMU's vfio-user-pci do not"
                .to_owned()
        }
        Some(other) => format!("a domain of type '{other}' is not run by QEMU"),
    };
    Err(DomainError::new(domain, reason))
}

fn encrypted(element: Node<'_, '_>, kind: &str) -> DomainError {
    let reason = format!(
        "the memory of this guest is protected ('{kind}'): the server could neither read nor write \
         it. Leave the <rng> to QEMU, or the protection out"
    );
    DomainError::new(element, reason)
}

/// Two devices of one name are refused by libvirt, and by QEMU when one of them is ours.
fn check_aliases(domain: Node<'_, '_>) -> Result<(), DomainError> {
    let options = options(domain);
    let devices = options.iter().filter(|option| option.name == "device");
    let mut ids: BTreeSet<String> = devices
        .filter_map(|device| device.properties("driver").get("id").map(str::to_owned))
        .collect();
    let devices = named(domain, "devices").flat_map(|devices| devices.descendants());
    for alias in devices.filter(|node| node.has_tag_name("alias")) {
        let Some(name) = alias.attribute("name").filter(|name| is_users_alias(name)) else {
            continue;
        };
        if !ids.insert(name.to_owned()) {
            let reason = format!("non unique alias detected: {name}");
            return Err(DomainError::new(alias, reason));
        }
    }
    Ok(())
}

/// A device of another process has to be told what the guest's IOMMU maps.
fn check_iommus(domain: Node<'_, '_>) -> Result<(), DomainError> {
    for iommu in iommus(domain) {
        if iommu.attribute("model") == Some("smmuv3") {
            let reason = "QEMU attaches no vfio-user device behind an SMMUv3, which does not tell \
                          what it maps: use <iommu model='virtio'>";
            return Err(DomainError::new(iommu, reason));
        }
    }
    Ok(())
}

fn iommus<'a, 'input>(domain: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    named(domain, "devices").flat_map(|devices| named(devices, "iommu"))
}

/// Switches on what an Intel IOMMU needs to tell what it maps. Without, QEMU ends while the guest
/// boots. Returns what was done.
pub fn set_caching_mode<'a>(
    domain: Node<'_, 'a>,
    layout: &Layout<'a>,
    edits: &mut Edits,
) -> Vec<String> {
    const ON: &str = "caching_mode='on'";
    let mut notes = Vec::new();
    for iommu in iommus(domain).filter(|iommu| iommu.attribute("model") == Some("intel")) {
        match named(iommu, "driver").next() {
            None => layout.append(edits, iommu, &vec![(0, format!("<driver {ON}/>"))]),
            Some(driver) => match driver.attribute_node("caching_mode") {
                Some(mode) if mode.value() == "on" => continue,
                Some(mode) => edits.replace(mode.range_value(), "on"),
                None => edits.insert(driver.range().start + "<driver".len(), format!(" {ON}")),
            },
        }
        notes.push(format!(
            "line {}: <iommu>: {ON} is set, without which QEMU ends while the guest boots",
            line(iommu)
        ));
    }
    notes
}

/// Checks an option that QEMU gets beside libvirt's own.
fn check_option(option: &QemuOption) -> Result<Option<String>, DomainError> {
    match option.name {
        "object" => check_object(option).map(|()| None),
        "machine" | "M" => check_machine(option),
        "device" => check_device(option).map(|()| None),
        "mem-path" => {
            let reason = "memory by -mem-path is private, and QEMU takes it beside no other: use \
                          <memoryBacking>";
            Err(DomainError::new(option.element, reason))
        }
        _ => Ok(None),
    }
}

fn check_object(object: &QemuOption) -> Result<(), DomainError> {
    let properties = object.properties("qom-type");
    let kind = properties.get("qom-type").unwrap_or_default();
    if ["sev-guest", "sev-snp-guest", "tdx-guest", "s390-pv-guest", "pef-guest"].contains(&kind) {
        return Err(encrypted(object.element, kind));
    }
    let shared = match kind {
        "memory-backend-ram" | "memory-backend-file" => properties.on("share").unwrap_or(false),
        // Shared unless it says otherwise.
        "memory-backend-memfd" => properties.on("share").unwrap_or(true),
        _ => true,
    };
    if shared {
        return Ok(());
    }
    let id = properties.get("id").unwrap_or("without an id");
    let reason = format!(
        "the memory object {id} is private: the server would not see what the guest writes to it. \
         Add share=on to {kind}"
    );
    Err(DomainError::new(object.element, reason))
}

fn check_machine(machine: &QemuOption) -> Result<Option<String>, DomainError> {
    let properties = machine.properties("type");
    for key in ["confidential-guest-support", "memory-encryption"] {
        if let Some(object) = properties.get(key) {
            return Err(encrypted(machine.element, object));
        }
    }
    Ok(properties.get("memory-backend").map(|object| {
        format!(
            "line {}: the guest's memory is the object {object} here, whatever <memoryBacking> \
             says: it has to be shared",
            line(machine.element)
        )
    }))
}

fn check_device(device: &QemuOption) -> Result<(), DomainError> {
    let properties = device.properties("driver");
    if properties.get("driver") != Some("intel-iommu")
        || properties.on("caching-mode") == Some(true)
    {
        return Ok(());
    }
    let reason = "QEMU ends while the guest boots with a vfio-user device behind this IOMMU: add \
                  caching-mode=on to intel-iommu";
    Err(DomainError::new(device.element, reason))
}

#[cfg(test)]
mod tests;
