//! What all requests have in common: a payload that is checked, an answer, an error.
//!
//! Each command family has a file of its own. There a pure function takes the payload apart and
//! checks it, and another one acts on the device. All numbers come from the other side, so sums
//! saturate and counts are held against limits.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::memory::MapError;
use crate::migration::MigrationState;
use crate::pci::function::MigrationError;
use crate::pci::irq_index::IrqIndex;
use crate::protocol::wire::{Command, DeviceFeature, DmaUnmap, MAX_DATA_SIZE, REGION_COUNT};

/// What comes of a command.
pub(crate) enum Answer {
    /// The reply that lies in the buffer.
    Reply,
    /// The same, with a file descriptor.
    ReplyWithFd(OwnedFd),
    /// The reply will be sent when an access to the memory is over.
    Later(DmaUnmap),
    /// The reply that lies in the buffer, when the device has come to rest and is in that state.
    AfterStop(MigrationState),
}

/// Why a request is rejected. The connection goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("payload of {got} bytes, at least {need} needed")]
    Short { got: usize, need: usize },
    #[error("argsz {argsz}, at least {need} needed")]
    Argsz { argsz: u32, need: usize },
    #[error("unknown or contradicting flags {0:#x}")]
    Flags(u32),
    #[error("no region {0}")]
    NoRegion(u32),
    #[error("{count:#x} bytes at {offset:#x} are outside of region {region} of {size:#x} bytes")]
    OutOfRegion { region: u32, offset: u64, count: u64, size: u64 },
    #[error("{got} bytes of data, {expected} expected")]
    DataLength { got: usize, expected: u64 },
    #[error("{0} bytes of data, {MAX_DATA_SIZE} at most")]
    TooMuchData(u32),
    #[error("no interrupt index {0}")]
    NoIrqIndex(u32),
    #[error("vectors {start} to {start}+{count} of {available}")]
    NoVectors { start: u32, count: u32, available: u32 },
    #[error("interrupt index {0:?} cannot do that")]
    IrqAction(IrqIndex),
    #[error("{got} file descriptors, {expected} expected")]
    Fds { got: usize, expected: usize },
    #[error("{0}")]
    Map(#[from] MapError),
    #[error("{size:#x} bytes of guest memory at {address:#x} cut a region, or are no range")]
    NotWholeRegions { address: u64, size: u64 },
    #[error("not a command (flags {0:#x})")]
    NotACommand(u32),
    #[error("a reply without a request")]
    UnexpectedReply,
    #[error("unknown command {0}")]
    UnknownCommand(u16),
    #[error("{0:?} comes from servers, not from clients")]
    WrongDirection(Command),
    #[error("the version is negotiated already")]
    AlreadyNegotiated,
    #[error("feature {0} is not offered")]
    NoFeature(u32),
    #[error("{0:?} is not offered")]
    NotOffered(Command),
    #[error("no migration state {0}")]
    NoMigrationState(u32),
    #[error("the device is on its way to another migration state")]
    Stopping,
    #[error("the device stands still for its migration")]
    StandsStill,
    #[error(transparent)]
    Migration(#[from] MigrationError),
    #[error("{length:#x} bytes from {iova:#x} on are not a range")]
    NotARange { iova: u64, length: u64 },
    #[error("page size {0:#x}")]
    PageSize(u64),
    #[error("bitmap of {0} bytes, {MAX_DATA_SIZE} at most: ask for smaller ranges")]
    Bitmap(u64),
    #[error("DMA is not logged")]
    NoLog,
    #[error("{0}")]
    Os(#[from] Errno),
}

impl RequestError {
    /// The errno for the client.
    pub fn errno(&self) -> Errno {
        match self {
            RequestError::Map(error) => error.errno(),
            RequestError::NotOffered(_) => Errno::NOTSUP,
            RequestError::Stopping => Errno::BUSY,
            RequestError::Os(errno) => *errno,
            _ => Errno::INVAL,
        }
    }
}

/// The structure at the start of a payload, and what follows it.
pub(super) fn head<T: FromBytes + Immutable + KnownLayout>(
    payload: &[u8],
) -> Result<(T, &[u8]), RequestError> {
    T::read_from_prefix(payload)
        .map_err(|_| RequestError::Short { got: payload.len(), need: size_of::<T>() })
}

pub(super) fn check_argsz(argsz: u32, need: usize) -> Result<(), RequestError> {
    if (argsz as usize) < need { Err(RequestError::Argsz { argsz, need }) } else { Ok(()) }
}

/// Checks that there is such a region.
pub(super) fn check_region(region: u32) -> Result<(), RequestError> {
    if region < REGION_COUNT { Ok(()) } else { Err(RequestError::NoRegion(region)) }
}

/// Size of a wire structure as the protocol writes it.
pub(super) fn wire_size<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

/// The data of a feature, behind the head of a payload.
pub(super) fn feature_data(payload: &[u8]) -> &[u8] {
    payload.get(size_of::<DeviceFeature>()..).unwrap_or_default()
}

/// Appends the head of a reply with so many bytes of data, for which the client has to have room.
pub(super) fn feature_head(
    request: &DeviceFeature,
    data: usize,
    reply: &mut Vec<u8>,
) -> Result<(), RequestError> {
    let length = size_of::<DeviceFeature>() + data;
    check_argsz(request.argsz, length)?;
    let argsz = u32::try_from(length).unwrap_or(u32::MAX);
    reply.extend_from_slice(DeviceFeature { argsz, ..*request }.as_bytes());
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
