//! The list of capabilities in configuration space, in the words of `lspci -vv`.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use super::pci::{header, id, msi, msix, virtio};

/// Bits of a pointer to a capability that count.
const POINTER: u32 = 0xfc;
/// Bytes of a capability that are looked at. Behind them, the virtio structure for access through
/// configuration space has a window, whose reading would read a register.
const MAX_CAPABILITY_LEN: usize = 16;
/// Bytes of a virtio notification structure, which has a multiplier behind the rest.
const NOTIFY_LENGTH: usize = 20;

/// A capability, or where the list goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its place in configuration space.
    pub at: u8,
    /// What is there.
    pub content: Content,
}

/// What a capability says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    PowerManagement {
        version: u16,
        state: u8,
    },
    Msi {
        control: u16,
    },
    Msix {
        control: u16,
        table: u32,
        pba: u32,
    },
    Virtio {
        structure: u8,
        bar: u8,
        offset: u32,
        length: u32,
        multiplier: Option<u32>,
    },
    VendorSpecific {
        length: u8,
    },
    PciExpress {
        version: u16,
        port_type: u16,
    },
    Unknown {
        id: u8,
    },
    /// The list leads to a capability that was in it before.
    Loop,
    /// The list leads into the header.
    Outside,
}

/// Follows the list with a reader of 4 bytes at a place, which is a multiple of 4. The list ends,
/// whatever is read. A virtio device has vendor specific capabilities of its own kind.
///
/// # Errors
/// What the reader fails with.
pub fn list<E>(
    is_virtio: bool,
    mut read: impl FnMut(u64) -> Result<u32, E>,
) -> Result<Vec<Capability>, E> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = read(header::CAPABILITIES_POINTER)? & POINTER;
    while next != 0 {
        let [at, ..] = next.to_le_bytes();
        if u64::from(at) < header::END {
            found.push(Capability { at, content: Content::Outside });
            break;
        }
        if !seen.insert(at) {
            found.push(Capability { at, content: Content::Loop });
            break;
        }
        let first = read(at.into())?;
        found.push(Capability { at, content: content(is_virtio, at, first, &mut read)? });
        next = first >> 8 & POINTER;
    }
    Ok(found)
}

/// Reads a capability whose first 4 bytes are known.
fn content<E>(
    is_virtio: bool,
    at: u8,
    first: u32,
    read: &mut impl FnMut(u64) -> Result<u32, E>,
) -> Result<Content, E> {
    let [id, _, length, structure] = first.to_le_bytes();
    let control = u16::from_le_bytes([length, structure]);
    // Beyond the end there is nothing.
    let mut word = |place: usize| match u64::from(at) + place as u64 {
        place if place > 0xfc => Ok(0),
        place => read(place),
    };
    Ok(match id {
        id::POWER_MANAGEMENT => {
            let [status, ..] = word(4)?.to_le_bytes();
            Content::PowerManagement { version: control & 7, state: status & 3 }
        }
        id::MSI => Content::Msi { control },
        id::MSIX => Content::Msix { control, table: word(4)?, pba: word(8)? },
        id::PCI_EXPRESS => {
            Content::PciExpress { version: control & 0xf, port_type: control >> 4 & 0xf }
        }
        id::VENDOR_SPECIFIC if is_virtio && usize::from(length) >= MAX_CAPABILITY_LEN => {
            let has_multiplier =
                structure == virtio::NOTIFY && usize::from(length) >= NOTIFY_LENGTH;
            let [bar, ..] = word(4)?.to_le_bytes();
            Content::Virtio {
                structure,
                bar,
                offset: word(8)?,
                length: word(12)?,
                multiplier: if has_multiplier { Some(word(MAX_CAPABILITY_LEN)?) } else { None },
            }
        }
        id::VENDOR_SPECIFIC => Content::VendorSpecific { length },
        id => Content::Unknown { id },
    })
}

/// One line, or several that are indented by two tabulators, without an end of line.
impl Display for Capability {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "[{:02x}] ", self.at)?;
        match self.content {
            Content::PowerManagement { version, state } => {
                write!(f, "Power Management version {version}\n\t\tStatus: D{state}")
            }
            Content::Msi { control } => write_msi(f, control),
            Content::Msix { control, table, pba } => write_msix(f, control, table, pba),
            Content::Virtio { structure, bar, offset, length, multiplier } => {
                write!(f, "Vendor Specific Information: VirtIO: {}", structure_name(structure))?;
                write!(f, "\n\t\tBAR={bar} offset={offset:08x} size={length:08x}")?;
                multiplier.map_or(Ok(()), |number| write!(f, " multiplier={number:08x}"))
            }
            Content::VendorSpecific { length } => {
                write!(f, "Vendor Specific Information: Len={length:02x}")
            }
            Content::PciExpress { version, port_type } => {
                write!(f, "Express (v{version}) {}", port_name(port_type))
            }
            Content::Unknown { id } => write!(f, "Capability ID {id:#04x}"),
            Content::Loop => write!(f, "<the list leads back here>"),
            Content::Outside => write!(f, "<the list leads into the header>"),
        }
    }
}

fn write_msi(f: &mut Formatter, control: u16) -> fmt::Result {
    let vectors = |field: u16| 1_u32 << (field & 7);
    write!(
        f,
        "MSI: Enable{} Count={}/{} Maskable{} 64bit{}",
        sign(control & msi::ENABLE != 0),
        vectors(control >> 4),
        vectors(control >> 1),
        sign(control & msi::MASKABLE != 0),
        sign(control & msi::ADDRESS_64 != 0)
    )
}

fn write_msix(f: &mut Formatter, control: u16, table: u32, pba: u32) -> fmt::Result {
    write!(
        f,
        "MSI-X: Enable{} Count={} Masked{}",
        sign(control & msix::ENABLE != 0),
        (control & msix::TABLE_SIZE) + 1,
        sign(control & msix::MASKED != 0)
    )?;
    for (name, place) in [("Vector table", table), ("PBA", pba)] {
        write!(f, "\n\t\t{name}: BAR={} offset={:08x}", place & msix::BAR, place & !msix::BAR)?;
    }
    Ok(())
}

fn sign(set: bool) -> char {
    if set { '+' } else { '-' }
}

/// The name of a virtio structure.
fn structure_name(structure: u8) -> String {
    match structure {
        virtio::COMMON => "CommonCfg".into(),
        virtio::NOTIFY => "Notify".into(),
        virtio::ISR => "ISR".into(),
        virtio::DEVICE => "DeviceCfg".into(),
        virtio::PCI_ACCESS => "PciCfg".into(),
        virtio::SHARED_MEMORY => "SharedMemory".into(),
        other => format!("<type {other}>"),
    }
}

/// What a PCI Express function is.
fn port_name(port_type: u16) -> String {
    match port_type {
        0 => "Endpoint".into(),
        1 => "Legacy Endpoint".into(),
        9 => "Root Complex Integrated Endpoint".into(),
        other => format!("<device type {other}>"),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// The capabilities of a space that starts with a pointer to the first of them.
    fn list_of(is_virtio: bool, space: &[u8; 256]) -> Vec<Capability> {
        let read = |place: u64| -> Result<u32, Infallible> {
            assert_eq!(place % 4, 0);
            let place = usize::try_from(place).unwrap();
            Ok(u32::from_le_bytes(space[place..place + 4].try_into().unwrap()))
        };
        list(is_virtio, read).unwrap()
    }

    /// The text of what is at 0x40, which is alone or leads to itself.
    fn text(is_virtio: bool, capability: &[u8]) -> String {
        let mut space = [0; 256];
        space[0x34] = 0x40;
        space[0x40..0x40 + capability.len()].copy_from_slice(capability);
        let found: Vec<String> = list_of(is_virtio, &space).iter().map(|c| c.to_string()).collect();
        found.join("\n")
    }

    #[test]
    fn no_list_is_empty() {
        assert_eq!(list_of(false, &[0; 256]), []);
    }

    #[test]
    fn msi_is_decoded() {
        let expected = "[40] MSI: Enable+ Count=2/32 Maskable+ 64bit-";
        assert_eq!(text(false, &[5, 0, 0x1b, 0x01]), expected);
        let expected = "[40] MSI: Enable- Count=1/1 Maskable- 64bit+";
        assert_eq!(text(false, &[5, 0, 0x80, 0]), expected);
    }

    #[test]
    fn msix_is_decoded() {
        let capability = [0x11, 0, 1, 0xc0, 1, 0, 0, 0, 2, 8, 0, 0];
        let expected = "[40] MSI-X: Enable+ Count=2 Masked+\n\
            \t\tVector table: BAR=1 offset=00000000\n\t\tPBA: BAR=2 offset=00000800";
        assert_eq!(text(false, &capability), expected);
    }

    #[test]
    fn power_management_is_decoded() {
        let expected = "[40] Power Management version 3\n\t\tStatus: D3";
        assert_eq!(text(false, &[1, 0, 3, 0, 3, 0, 0, 0]), expected);
    }

    #[test]
    fn pci_express_is_decoded() {
        assert_eq!(text(false, &[0x10, 0, 0x02, 0]), "[40] Express (v2) Endpoint");
        assert_eq!(text(false, &[0x10, 0, 0x41, 0]), "[40] Express (v1) <device type 4>");
    }

    #[test]
    fn virtio_structures_are_decoded_of_virtio_devices_alone() {
        let mut notify = [9, 0, 20, 2, 4, 0, 0, 0, 0, 0x30, 0, 0, 0, 0x10, 0, 0, 4, 0, 0, 0];
        let expected = "[40] Vendor Specific Information: VirtIO: Notify\n\
            \t\tBAR=4 offset=00003000 size=00001000 multiplier=00000004";
        assert_eq!(text(true, &notify), expected);
        assert_eq!(text(false, &notify), "[40] Vendor Specific Information: Len=14");
        notify[2] = 8;
        assert_eq!(text(true, &notify), "[40] Vendor Specific Information: Len=08");
    }

    #[test]
    fn unknown_capabilities_are_named_by_id() {
        assert_eq!(text(false, &[0x99, 0]), "[40] Capability ID 0x99");
    }

    #[test]
    fn a_list_that_leads_back_ends() {
        let expected = "[40] Capability ID 0x03\n[40] <the list leads back here>";
        assert_eq!(text(false, &[3, 0x40]), expected);
    }

    #[test]
    fn a_list_that_leads_into_the_header_ends() {
        let expected = "[40] Capability ID 0x03\n[10] <the list leads into the header>";
        assert_eq!(text(false, &[3, 0x10]), expected);
    }

    #[test]
    fn a_capability_at_the_very_end_is_read_no_further() {
        let mut space = [0; 256];
        space[0x34] = 0xfc;
        space[0xfc] = 0x11;
        let content = Content::Msix { control: 0, table: 0, pba: 0 };
        assert_eq!(list_of(false, &space), [Capability { at: 0xfc, content }]);
    }

    proptest! {
        #[test]
        fn every_list_ends(space in prop::collection::vec(any::<u8>(), 256), is_virtio: bool) {
            let found = list_of(is_virtio, &space.try_into().unwrap());
            prop_assert!(found.len() <= 49);
            found.iter().for_each(|capability| drop(capability.to_string()));
        }
    }
}
