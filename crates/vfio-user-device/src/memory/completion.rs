//! How an access to guest memory ends, and what is too much of it.

/// Longest single access in bytes.
pub(super) const MAX_LENGTH: usize = 16 << 20;
/// Most accesses that wait at once. A device has as many as its guest makes it have, so there has
/// to be an end.
pub(super) const MAX_QUEUED: usize = 1024;
/// Most bytes of accesses that wait at once, for the same reason.
pub(super) const MAX_QUEUED_BYTES: usize = 32 << 20;

/// Why an access to guest memory failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DmaError {
    /// The driver has not set the bus master bit of the PCI command register.
    #[error("the driver has not enabled bus mastering")]
    NotBusMaster,
    /// No region of guest memory has this address.
    #[error("no guest memory at {address:#x}")]
    NotMapped {
        /// The first address that is missing.
        address: u64,
    },
    /// The region may not be accessed this way.
    #[error("guest memory at {address:#x} may not be accessed this way")]
    NotPermitted {
        /// The first address that is refused.
        address: u64,
    },
    /// Only messages reach the region, and the access was not to wait for one.
    #[error("guest memory at {address:#x} is not shared; give QEMU memory with share=on")]
    NotShared {
        /// The first address that is not shared.
        address: u64,
    },
    /// The file behind the region was truncated.
    #[error("guest memory at {address:#x} is gone")]
    Truncated {
        /// The start of the piece that was being copied.
        address: u64,
    },
    /// The client refused the message.
    #[error(
        "the client refused access to {address:#x}: {}",
        std::io::Error::from_raw_os_error(*errno)
    )]
    Refused {
        /// The start of the piece that was asked for.
        address: u64,
        /// The errno of its reply.
        errno: i32,
    },
    /// One access is longer than any device needs.
    #[error("access of {0} bytes, {MAX_LENGTH} at most")]
    TooLong(usize),
    /// The client has gone before it was done.
    #[error("the client has disconnected")]
    Disconnected,
    /// Too many accesses wait already.
    #[error("more than {MAX_QUEUED} accesses or {MAX_QUEUED_BYTES} bytes are waiting")]
    QueueFull,
}

/// An access to guest memory that was not queued, with its data for another attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Rejected {
    /// Why.
    pub error: DmaError,
    /// The bytes that were to be written; none of a read.
    pub data: Vec<u8>,
}

impl From<Rejected> for DmaError {
    fn from(rejected: Rejected) -> Self {
        rejected.error
    }
}

/// A finished access to guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmaCompletion {
    /// The number that the device gave to the access.
    pub tag: u64,
    /// The bytes of a read, or those of a write, back for the buffer's next use; or why it failed.
    /// A failed write may have written its first bytes.
    pub result: Result<Vec<u8>, DmaError>,
}
