//! The bytes on the socket: header, commands and payload structures of the vfio-user protocol.
//!
//! Everything is in host byte order, as the specification says (QEMU,
//! `docs/interop/vfio-user.rst`). The structures are read and written by `zerocopy`, so that no
//! offset is counted by hand; constants shared with the kernel's VFIO come from `vfio-bindings`,
//! and the tests below compare layouts with the kernel's own structures.

use bitflags::bitflags;
use vfio_bindings::bindings::vfio as uapi;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use super::feature_wire::{
    DeviceFeature, DeviceFeatureFlags, DmaLoggingControl, DmaLoggingRange, DmaLoggingReport,
    Feature, MigrationData, MigrationDeviceState, MigrationFlags,
};
pub use super::header::{Command, HEADER_SIZE, Header, HeaderFlags};
pub use super::limits::{
    MAX_DATA_SIZE, MAX_DMA_REGION_SIZE, MAX_DMA_REGIONS, MAX_MESSAGE_FDS, VERSION_MAJOR,
    VERSION_MINOR,
};
pub use super::version::{
    Capabilities, MigrationParameters, Offer, TwinSocket, VersionError, parse_version_data,
    version_data,
};

/// Size of the largest message that a server accepts: a REGION_WRITE of [`MAX_DATA_SIZE`] bytes.
pub const MAX_MESSAGE_SIZE: usize = HEADER_SIZE + size_of::<RegionAccess>() + MAX_DATA_SIZE;
/// Number of regions of a PCI device: six BARs, ROM, configuration space, VGA.
pub const REGION_COUNT: u32 = uapi::VFIO_PCI_NUM_REGIONS;
/// Region index of the configuration space.
pub const CONFIG_REGION: u32 = uapi::VFIO_PCI_CONFIG_REGION_INDEX;
/// Number of interrupt indexes of a PCI device: INTx, MSI, MSI-X, ERR, REQ.
pub const IRQ_INDEX_COUNT: u32 = uapi::VFIO_PCI_NUM_IRQS;

/// Fixed part of VERSION's payload; NUL-terminated JSON may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Version {
    /// Incompatible changes.
    pub major: u16,
    /// Compatible changes.
    pub minor: u16,
}

/// Payload of DMA_MAP.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaMap {
    /// Size of this structure.
    pub argsz: u32,
    /// See [`DmaMapFlags`].
    pub flags: u32,
    /// Offset of the region in the file behind the descriptor.
    pub offset: u64,
    /// First guest address (IOVA) of the region.
    pub address: u64,
    /// Size of the region in bytes.
    pub size: u64,
}

bitflags! {
    /// What a device may do with a DMA region, and how; the latter in libvfio-user since 2026.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DmaMapFlags: u32 {
        /// The device may read.
        const READ = uapi::VFIO_DMA_MAP_FLAG_READ;
        /// The device may write.
        const WRITE = uapi::VFIO_DMA_MAP_FLAG_WRITE;
        /// The file that comes along can be mapped; clients that do not know the bit mean it.
        const MMAP = 1 << 2;
        /// The file that comes along can be read and written by system calls.
        const FILE_IO = 1 << 3;
    }
}

/// Payload of DMA_UNMAP, repeated in its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaUnmap {
    /// Most bytes of reply payload.
    pub argsz: u32,
    /// See [`DmaUnmapFlags`].
    pub flags: u32,
    /// First guest address of the region.
    pub address: u64,
    /// Size of the region in bytes.
    pub size: u64,
}

bitflags! {
    /// Flags of DMA_UNMAP. The specification calls them unused; QEMU and libvfio-user follow the
    /// kernel's VFIO_IOMMU_UNMAP_DMA.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DmaUnmapFlags: u32 {
        /// Return a bitmap of dirty pages.
        const GET_DIRTY_BITMAP = uapi::VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
        /// Unmap every region; address and size have to be zero.
        const ALL = uapi::VFIO_DMA_UNMAP_FLAG_ALL;
    }
}

/// Payload of DEVICE_GET_INFO and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceInfo {
    /// Request: most bytes of reply payload. Reply: bytes that it needs.
    pub argsz: u32,
    /// See [`DeviceFlags`].
    pub flags: u32,
    /// Number of regions.
    pub num_regions: u32,
    /// Number of interrupt indexes.
    pub num_irqs: u32,
}

bitflags! {
    /// Flags of a device.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DeviceFlags: u32 {
        /// DEVICE_RESET works.
        const RESET = uapi::VFIO_DEVICE_FLAGS_RESET;
        /// It is a PCI device.
        const PCI = uapi::VFIO_DEVICE_FLAGS_PCI;
    }
}

/// Payload of DEVICE_GET_REGION_INFO and of its reply, which capabilities may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionInfo {
    /// Request: most bytes of reply payload. Reply: bytes that it needs with all capabilities.
    pub argsz: u32,
    /// See [`RegionFlags`].
    pub flags: u32,
    /// The region.
    pub index: u32,
    /// Offset of the first capability from the start of this structure, or 0.
    pub cap_offset: u32,
    /// Size of the region in bytes; 0 if the device has no such region.
    pub size: u64,
    /// Offset to give to mmap(2) with the descriptor that comes along.
    pub offset: u64,
}

bitflags! {
    /// Flags of a region.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RegionFlags: u32 {
        /// Can be read.
        const READ = uapi::VFIO_REGION_INFO_FLAG_READ;
        /// Can be written.
        const WRITE = uapi::VFIO_REGION_INFO_FLAG_WRITE;
        /// Can be mapped, with the file descriptor of this reply.
        const MMAP = uapi::VFIO_REGION_INFO_FLAG_MMAP;
        /// Capabilities follow.
        const CAPS = uapi::VFIO_REGION_INFO_FLAG_CAPS;
    }
}

/// Head of the capability that lists the mappable parts of a region; [`MmapArea`]s follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SparseMmapCapability {
    /// [`SparseMmapCapability::ID`].
    pub id: u16,
    /// [`SparseMmapCapability::VERSION`].
    pub version: u16,
    /// Offset of the next capability, or 0.
    pub next: u32,
    /// Number of areas that follow.
    pub nr_areas: u32,
    /// Always 0.
    pub reserved: u32,
}

impl SparseMmapCapability {
    /// The capability's id.
    pub const ID: u16 = 1;
    /// The capability's version.
    pub const VERSION: u16 = 1;
}

/// One mappable part of a region.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MmapArea {
    /// Offset from the start of the region.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
}

/// Payload of DEVICE_GET_REGION_IO_FDS.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionIoFds {
    /// Most bytes of reply payload.
    pub argsz: u32,
    /// Has to be 0.
    pub flags: u32,
    /// The region.
    pub index: u32,
    /// Has to be 0.
    pub count: u32,
}

/// Payload of DEVICE_GET_IRQ_INFO and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IrqInfo {
    /// Request: most bytes of reply payload. Reply: bytes that it needs.
    pub argsz: u32,
    /// See [`IrqInfoFlags`].
    pub flags: u32,
    /// The interrupt index.
    pub index: u32,
    /// Number of vectors of that index.
    pub count: u32,
}

bitflags! {
    /// Flags of an interrupt index.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct IrqInfoFlags: u32 {
        /// Signals an eventfd.
        const EVENTFD = uapi::VFIO_IRQ_INFO_EVENTFD;
        /// MASK and UNMASK work.
        const MASKABLE = uapi::VFIO_IRQ_INFO_MASKABLE;
        /// Masks itself when it fires (level-triggered).
        const AUTOMASKED = uapi::VFIO_IRQ_INFO_AUTOMASKED;
    }
}

/// Fixed part of DEVICE_SET_IRQS's payload; booleans may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IrqSet {
    /// Size of this structure and of the data that follows.
    pub argsz: u32,
    /// See [`IrqSetFlags`].
    pub flags: u32,
    /// The interrupt index.
    pub index: u32,
    /// First vector.
    pub start: u32,
    /// Number of vectors.
    pub count: u32,
}

bitflags! {
    /// Flags of DEVICE_SET_IRQS: one kind of data and one action.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct IrqSetFlags: u32 {
        /// No data: the action is for every vector named.
        const DATA_NONE = uapi::VFIO_IRQ_SET_DATA_NONE;
        /// One byte a vector says whether the action is for it.
        const DATA_BOOL = uapi::VFIO_IRQ_SET_DATA_BOOL;
        /// One eventfd a vector comes with the message.
        const DATA_EVENTFD = uapi::VFIO_IRQ_SET_DATA_EVENTFD;
        /// Mask.
        const ACTION_MASK = uapi::VFIO_IRQ_SET_ACTION_MASK;
        /// Unmask.
        const ACTION_UNMASK = uapi::VFIO_IRQ_SET_ACTION_UNMASK;
        /// Trigger now, or assign what is signalled when the device triggers.
        const ACTION_TRIGGER = uapi::VFIO_IRQ_SET_ACTION_TRIGGER;
        /// All kinds of data.
        const DATA_MASK = uapi::VFIO_IRQ_SET_DATA_TYPE_MASK;
        /// All actions.
        const ACTION_MASK_ALL = uapi::VFIO_IRQ_SET_ACTION_TYPE_MASK;
    }
}

/// Head of REGION_READ and REGION_WRITE, requests and replies; data may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionAccess {
    /// Offset in the region.
    pub offset: u64,
    /// The region.
    pub region: u32,
    /// Bytes of data.
    pub count: u32,
}

/// One write of a REGION_WRITE_MULTI, after a `wr_cnt` of 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RegionWriteEntry {
    /// Offset in the region.
    pub offset: u64,
    /// The region.
    pub region: u32,
    /// Bytes of `data` that count, 8 at most.
    pub count: u32,
    /// The bytes to write.
    pub data: [u8; 8],
}

/// Head of DMA_READ and DMA_WRITE, requests and replies; data may follow.
///
/// The specification's table gives DMA_WRITE's reply a count of 4 bytes; QEMU and libvfio-user
/// use 8 everywhere, and so does this.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaAccess {
    /// Guest address (IOVA).
    pub address: u64,
    /// Bytes of data.
    pub count: u64,
}

#[cfg(test)]
mod tests;
