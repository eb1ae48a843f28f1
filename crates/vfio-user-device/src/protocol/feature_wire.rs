//! The payloads of DEVICE_FEATURE, MIG_DATA_READ and MIG_DATA_WRITE.

use bitflags::bitflags;
use vfio_bindings::bindings::vfio as uapi;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Head of DEVICE_FEATURE and of its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeviceFeature {
    /// Request: most bytes of reply payload. Reply: its bytes.
    pub argsz: u32,
    /// The feature's number in the low half, [`DeviceFeatureFlags`] above.
    pub flags: u32,
}

bitflags! {
    /// What to do with a feature.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DeviceFeatureFlags: u32 {
        /// Return its data.
        const GET = uapi::VFIO_DEVICE_FEATURE_GET;
        /// Set it to the data that come along.
        const SET = uapi::VFIO_DEVICE_FEATURE_SET;
        /// Say whether the other flags are possible.
        const PROBE = uapi::VFIO_DEVICE_FEATURE_PROBE;
    }
}

/// The features that vfio-user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Feature {
    /// Whether and how the device can be migrated.
    Migration = uapi::VFIO_DEVICE_FEATURE_MIGRATION,
    /// What the device does for its migration.
    MigrationDeviceState = uapi::VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
    /// Log which pages the device writes.
    DmaLoggingStart = uapi::VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
    /// Log no pages any more.
    DmaLoggingStop = uapi::VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
    /// Report the logged pages.
    DmaLoggingReport = uapi::VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
}

impl Feature {
    const ALL: [Feature; 5] = [
        Feature::Migration,
        Feature::MigrationDeviceState,
        Feature::DmaLoggingStart,
        Feature::DmaLoggingStop,
        Feature::DmaLoggingReport,
    ];

    /// The feature with this number.
    pub fn from_wire(number: u32) -> Option<Feature> {
        Self::ALL.into_iter().find(|feature| *feature as u32 == number)
    }

    /// What can be done with it, besides PROBE.
    pub fn methods(self) -> DeviceFeatureFlags {
        match self {
            Feature::Migration | Feature::DmaLoggingReport => DeviceFeatureFlags::GET,
            Feature::DmaLoggingStart | Feature::DmaLoggingStop => DeviceFeatureFlags::SET,
            Feature::MigrationDeviceState => DeviceFeatureFlags::GET | DeviceFeatureFlags::SET,
        }
    }
}

bitflags! {
    /// Data of [`Feature::Migration`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MigrationFlags: u64 {
        /// The device can stand still and give its state.
        const STOP_COPY = uapi::VFIO_MIGRATION_STOP_COPY as u64;
        /// The device can give a part of its state while it works.
        const PRE_COPY = uapi::VFIO_MIGRATION_PRE_COPY as u64;
    }
}

/// Data of [`Feature::MigrationDeviceState`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MigrationDeviceState {
    /// The number of the state.
    pub device_state: u32,
    /// Not used by vfio-user.
    pub data_fd: u32,
}

/// Data of [`Feature::DmaLoggingStart`]; ranges follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaLoggingControl {
    /// Bytes of a page.
    pub page_size: u64,
    /// Number of [`DmaLoggingRange`]s that follow; 0 stands for all memory.
    pub num_ranges: u32,
    /// Always 0.
    pub reserved: u32,
}

/// Guest memory whose pages are to be logged.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaLoggingRange {
    /// First guest address (IOVA).
    pub iova: u64,
    /// Bytes.
    pub length: u64,
}

/// Data of [`Feature::DmaLoggingReport`]; in a reply, a bitmap follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaLoggingReport {
    /// First guest address (IOVA) of the range to report.
    pub iova: u64,
    /// Its bytes.
    pub length: u64,
    /// Bytes that a bit of the bitmap stands for.
    pub page_size: u64,
}

/// Head of MIG_DATA_READ and MIG_DATA_WRITE; data may follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MigrationData {
    /// Request: most bytes of reply payload. Reply: its bytes.
    pub argsz: u32,
    /// Bytes of data.
    pub size: u32,
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        macro_rules! same_offsets {
            ($ours:ty, $kernels:ty: $($field:ident)*) => {
                $(assert_eq!(offset_of!($ours, $field), offset_of!($kernels, $field));)*
            };
        }
        same_offsets!(DeviceFeature, uapi::vfio_device_feature: argsz flags);
        same_offsets!(MigrationDeviceState, uapi::vfio_device_feature_mig_state: device_state data_fd);
        assert_eq!(
            size_of::<MigrationDeviceState>(),
            size_of::<uapi::vfio_device_feature_mig_state>()
        );
    }

    #[test]
    fn sizes_are_the_specifications() {
        assert_eq!(size_of::<DmaLoggingControl>(), 16);
        assert_eq!(size_of::<DmaLoggingRange>(), 16);
        assert_eq!(size_of::<DmaLoggingReport>(), 24);
        assert_eq!(size_of::<MigrationData>(), 8);
    }

    #[test]
    fn numbers_become_features_and_back() {
        for number in 0..=0xffff {
            let feature = Feature::from_wire(number);
            assert!(feature.is_none_or(|feature| feature as u32 == number));
        }
        assert_eq!(Feature::from_wire(8), Some(Feature::DmaLoggingReport));
        assert_eq!(Feature::from_wire(0), None);
    }
}
