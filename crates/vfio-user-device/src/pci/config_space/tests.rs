//! What drivers read and write, and what they cannot change.

use proptest::prelude::*;

use super::*;
use crate::pci::config::{Identity, Msix};

fn config() -> DeviceConfig {
    DeviceConfig::new(Identity::new(0x1234, 0xcafe).revision(0x10))
        .bar(0, Bar::memory32(4096))
        .bar(1, Bar::io(32))
        .bar(2, Bar::memory64(1 << 33).prefetchable())
        .bar(4, Bar::memory32(8192))
        .interrupt_pin()
        .msix(Msix { vectors: 2, bar: 4, table: 0, pba: 0x1000 })
        .msi(4)
        .capability(0x09, vec![7; 5])
}

fn read(space: &ConfigSpace, offset: usize, length: usize) -> u64 {
    let mut bytes = [0; 8];
    space.read(offset..offset + length, false, &mut bytes);
    u64::from_le_bytes(bytes)
}

#[test]
fn header_of_a_plain_device() {
    let plain =
        DeviceConfig::new(Identity::new(0x1234, 0xcafe).revision(0x10)).bar(0, Bar::memory32(4096));
    let space = ConfigSpace::new(&plain);
    assert_eq!(read(&space, VENDOR_ID, 4), 0xcafe_1234);
    assert_eq!(read(&space, REVISION, 4), 0x00ff_0010);
    assert_eq!(read(&space, STATUS, 2), 0, "no capabilities, fast timing");
    assert_eq!(read(&space, 0x0e, 1), 0, "header type 0");
    assert_eq!(read(&space, SUBSYSTEM_VENDOR_ID, 4), 0x1100_1af4);
    assert_eq!(read(&space, CAPABILITIES_POINTER, 1), 0);
    assert_eq!(read(&space, INTERRUPT_PIN, 1), 0);
}

#[test]
fn all_ones_in_a_bar_read_back_as_its_size() {
    let mut space = ConfigSpace::new(&config());
    let mut sized = |index: usize| {
        space.write(BARS + 4 * index, &[0xff; 4]);
        read(&space, BARS + 4 * index, 4)
    };
    let bars: [u64; 6] = std::array::from_fn(&mut sized);
    assert_eq!(bars, [0xffff_f000, 0xffff_ffe1, 0x0000_000c, 0xffff_fffe, 0xffff_e000, 0]);
}

#[test]
fn capabilities_are_linked() {
    let space = ConfigSpace::new(&config());
    assert_eq!(read(&space, STATUS, 2), u64::from(status::CAPABILITIES));
    assert_eq!(read(&space, CAPABILITIES_POINTER, 1), 0x40);
    assert_eq!(read(&space, 0x40, 4), 0x0001_4c11, "MSI-X, next at 0x4c, two vectors");
    assert_eq!(read(&space, 0x44, 8), 0x0000_1004_0000_0004);
    assert_eq!(read(&space, 0x4c, 4), 0x0084_5c05, "MSI, next at 0x5c, 64-bit, four vectors");
    assert_eq!(read(&space, 0x5c, 2), 0x0009, "vendor specific, the last");
    assert_eq!(read(&space, 0x5e, 5), 0x07_0707_0707);
}

#[test]
fn a_device_with_msi_alone_has_it_first() {
    let space = ConfigSpace::new(&DeviceConfig::new(Identity::new(1, 2)).msi(1));
    assert_eq!(read(&space, CAPABILITIES_POINTER, 1), 0x40);
    assert_eq!(read(&space, 0x40, 4), 0x0080_0005);
}

#[test]
fn msix_control_has_two_writable_bits() {
    let mut space = ConfigSpace::new(&config());
    space.write(0x42, &[0xff, 0xff]);
    assert_eq!(read(&space, 0x42, 2), 0xc001);
    assert!(space.msix_enabled() && space.msix_function_masked());
    // Some QEMU versions write the high byte alone.
    space.write(0x43, &[0x80]);
    assert!(space.msix_enabled() && !space.msix_function_masked());
}

#[test]
fn msi_has_the_writable_bits_of_its_message() {
    let mut space = ConfigSpace::new(&config());
    assert_eq!(space.msi_vectors_allowed(), None);
    space.write(0x4c, &[0xff; 16]);
    assert_eq!(read(&space, 0x4c, 8), 0xffff_fffc_00f5_5c05);
    assert_eq!(read(&space, 0x54, 8), 0x0000_ffff_ffff_ffff);
    assert_eq!(space.msi_vectors_allowed(), Some(4), "more than there are");
    space.write(0x4e, &[0x11]);
    assert_eq!(space.msi_vectors_allowed(), Some(2));
    space.write(0x4e, &[0x10]);
    assert_eq!(space.msi_vectors_allowed(), None);
}

#[test]
fn the_interrupt_pin_shows_in_the_status_register() {
    let space = ConfigSpace::new(&config());
    let mut status = [0; 2];
    space.read(STATUS..STATUS + 2, true, &mut status);
    assert_eq!(u16::from_le_bytes(status), status::INTERRUPT | status::CAPABILITIES);
}

#[test]
fn reset_undoes_what_a_driver_wrote() {
    let mut space = ConfigSpace::new(&config());
    space.write(0, &[0xff; SIZE]);
    assert!(space.bus_master());
    space.reset();
    assert!(!space.bus_master());
    assert_eq!(space.bytes, ConfigSpace::new(&config()).bytes);
}

proptest! {
    #[test]
    fn no_write_changes_what_is_read_only(
        writes in prop::collection::vec((0_usize..300, prop::collection::vec(any::<u8>(), 0..300)), 0..50)
    ) {
        let fresh = ConfigSpace::new(&config());
        let mut space = fresh.clone();
        for (offset, data) in writes {
            space.write(offset, &data);
        }
        for offset in 0..SIZE {
            let fixed = !fresh.writable[offset];
            prop_assert_eq!(space.bytes[offset] & fixed, fresh.bytes[offset] & fixed);
        }
    }
}
