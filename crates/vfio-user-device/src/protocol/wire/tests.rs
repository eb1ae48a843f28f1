//! Layouts and numbers, as the kernel and the specification have them.

use std::mem::offset_of;

use super::*;

/// Structures that are the kernel's own have the kernel's layout.
#[test]
fn layouts_are_the_kernels() {
    macro_rules! same_offsets {
        ($ours:ty, $kernels:ty: $($field:ident)*) => {
            $(assert_eq!(offset_of!($ours, $field), offset_of!($kernels, $field));)*
        };
    }
    same_offsets!(DeviceInfo, uapi::vfio_device_info: argsz flags num_regions num_irqs);
    same_offsets!(RegionInfo, uapi::vfio_region_info: argsz flags index cap_offset size offset);
    same_offsets!(IrqInfo, uapi::vfio_irq_info: argsz flags index count);
    same_offsets!(IrqSet, uapi::vfio_irq_set: argsz flags index start count);
    same_offsets!(MmapArea, uapi::vfio_region_sparse_mmap_area: offset size);
    assert_eq!(size_of::<RegionInfo>(), size_of::<uapi::vfio_region_info>());
    assert_eq!(size_of::<IrqInfo>(), size_of::<uapi::vfio_irq_info>());
    assert_eq!(u32::from(SparseMmapCapability::ID), uapi::VFIO_REGION_INFO_CAP_SPARSE_MMAP);
}

/// Sizes that only the vfio-user specification knows.
#[test]
fn sizes_are_the_specifications() {
    assert_eq!(HEADER_SIZE, 16);
    assert_eq!(size_of::<DmaMap>(), 32);
    assert_eq!(size_of::<DmaUnmap>(), 24);
    assert_eq!(size_of::<DeviceInfo>(), 16);
    assert_eq!(size_of::<RegionAccess>(), 16);
    assert_eq!(size_of::<RegionWriteEntry>(), 24);
    assert_eq!(size_of::<DmaAccess>(), 16);
    assert_eq!(size_of::<SparseMmapCapability>(), 16);
}

#[test]
fn numbers_become_commands_and_back() {
    for number in 0..=u16::MAX {
        if let Some(command) = Command::from_wire(number) {
            assert_eq!(command as u16, number);
        }
    }
    assert_eq!(Command::from_wire(13), Some(Command::DeviceReset));
    assert_eq!(Command::from_wire(14), None);
}
