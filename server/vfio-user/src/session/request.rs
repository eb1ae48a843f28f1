//! What a client asks for, taken apart and checked before anything is done.
//!
//! Every function here is pure: payload in, checked request or [`RequestError`] out. All numbers
//! come from the other side, so sums saturate and counts are held against limits.

use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unalign};

use super::connection::MessageFds;
use crate::dma::MapError;
use crate::interrupts::IrqIndex;
use crate::wire::{
    Capabilities, Command, DeviceFeature, DeviceInfo, DmaMap, DmaMapFlags, DmaUnmap, DmaUnmapFlags,
    Header, IRQ_INDEX_COUNT, IrqInfo, IrqSet, IrqSetFlags, MAX_DATA_SIZE, REGION_COUNT,
    RegionAccess, RegionInfo, RegionIoFds, RegionWriteEntry, VERSION_MAJOR, VERSION_MINOR, Version,
    parse_version_data,
};

/// Why a request is refused. The connection goes on.
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
    #[error("a reply that nobody has asked for")]
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
    #[error("{0}")]
    Os(#[from] Errno),
}

impl RequestError {
    /// The errno for the client.
    pub fn errno(&self) -> Errno {
        match self {
            RequestError::Map(error) => error.errno(),
            RequestError::NotWholeRegions { .. } => Errno::INVAL,
            RequestError::NotOffered(_) => Errno::NOTSUP,
            RequestError::Os(errno) => *errno,
            _ => Errno::INVAL,
        }
    }
}

/// The structure at the start of a payload, and what follows it.
fn head<T: FromBytes + Immutable + KnownLayout>(
    payload: &[u8],
) -> Result<(T, &[u8]), RequestError> {
    T::read_from_prefix(payload)
        .map_err(|_| RequestError::Short { got: payload.len(), need: size_of::<T>() })
}

fn check_argsz(argsz: u32, need: usize) -> Result<(), RequestError> {
    if (argsz as usize) < need { Err(RequestError::Argsz { argsz, need }) } else { Ok(()) }
}

/// Checks a first message: what version and which capabilities the client proposes, or why it
/// cannot be talked to.
pub(crate) fn version(
    header: &Header,
    payload: &[u8],
    fds: &MessageFds,
) -> Result<(Version, Capabilities), String> {
    if !header.is_command() || header.command != Command::Version as u16 {
        return Err(format!("the first message is command {}, not VERSION", header.command));
    }
    if !header.wants_reply() {
        return Err("VERSION that wants no reply".into());
    }
    if fds.any() {
        return Err("VERSION with file descriptors".into());
    }
    let (version, data) = Version::read_from_prefix(payload)
        .map_err(|_| format!("VERSION of {} bytes", payload.len()))?;
    if version.major != VERSION_MAJOR {
        return Err(format!("major version {}, {VERSION_MAJOR} is spoken here", version.major));
    }
    let capabilities = parse_version_data(data).map_err(|error| error.to_string())?;
    Ok((Version { minor: version.minor.min(VERSION_MINOR), ..version }, capabilities))
}

/// A checked DMA_MAP.
#[derive(Debug)]
pub(crate) struct MapRequest {
    pub address: u64,
    pub size: u64,
    pub offset: u64,
    pub access: DmaMapFlags,
    /// Whether a file that comes along can be mapped.
    pub mappable: bool,
}

pub(crate) fn dma_map(payload: &[u8]) -> Result<MapRequest, RequestError> {
    let (map, _) = head::<DmaMap>(payload)?;
    check_argsz(map.argsz, size_of::<DmaMap>())?;
    let flags = DmaMapFlags::from_bits(map.flags).ok_or(RequestError::Flags(map.flags))?;
    let DmaMap { address, size, offset, .. } = map;
    let access = flags & (DmaMapFlags::READ | DmaMapFlags::WRITE);
    let mappable = flags.contains(DmaMapFlags::MMAP) || !flags.contains(DmaMapFlags::FILE_IO);
    Ok(MapRequest { address, size, offset, access, mappable })
}

/// What to unmap.
#[derive(Debug)]
pub(crate) enum UnmapRange {
    All,
    Region { address: u64, size: u64 },
}

/// A checked DMA_UNMAP, and the structure that its reply repeats.
pub(crate) fn dma_unmap(payload: &[u8]) -> Result<(DmaUnmap, UnmapRange), RequestError> {
    let (unmap, _) = head::<DmaUnmap>(payload)?;
    check_argsz(unmap.argsz, size_of::<DmaUnmap>())?;
    let flags = DmaUnmapFlags::from_bits_retain(unmap.flags);
    let range = if flags == DmaUnmapFlags::ALL && unmap.address == 0 && unmap.size == 0 {
        UnmapRange::All
    } else if flags.is_empty() {
        UnmapRange::Region { address: unmap.address, size: unmap.size }
    } else {
        return Err(RequestError::Flags(unmap.flags));
    };
    Ok((unmap, range))
}

pub(crate) fn device_info(payload: &[u8]) -> Result<(), RequestError> {
    let (info, _) = head::<DeviceInfo>(payload)?;
    check_argsz(info.argsz, size_of::<DeviceInfo>())
}

pub(crate) fn region_info(payload: &[u8]) -> Result<RegionInfo, RequestError> {
    let (info, _) = head::<RegionInfo>(payload)?;
    check_argsz(info.argsz, size_of::<RegionInfo>())?;
    check_region(info.index)?;
    Ok(info)
}

pub(crate) fn region_io_fds(payload: &[u8]) -> Result<(), RequestError> {
    let (request, _) = head::<RegionIoFds>(payload)?;
    check_argsz(request.argsz, size_of::<RegionIoFds>())?;
    if request.flags != 0 || request.count != 0 {
        return Err(RequestError::Flags(request.flags));
    }
    check_region(request.index)?;
    Err(RequestError::NotOffered(Command::DeviceGetRegionIoFds))
}

fn check_region(region: u32) -> Result<(), RequestError> {
    if region < REGION_COUNT { Ok(()) } else { Err(RequestError::NoRegion(region)) }
}

pub(crate) fn irq_info(payload: &[u8]) -> Result<IrqIndex, RequestError> {
    let (info, _) = head::<IrqInfo>(payload)?;
    check_argsz(info.argsz, size_of::<IrqInfo>())?;
    irq_index(info.index)
}

fn irq_index(index: u32) -> Result<IrqIndex, RequestError> {
    debug_assert_eq!(IRQ_INDEX_COUNT, IrqIndex::Request as u32 + 1);
    IrqIndex::from_wire(index).ok_or(RequestError::NoIrqIndex(index))
}

/// Checks an access against the region that it names; `size` tells each region's size.
fn check_access(access: &RegionAccess, size: impl Fn(u32) -> u64) -> Result<(), RequestError> {
    let RegionAccess { offset, region, count } = *access;
    check_region(region)?;
    if count as usize > MAX_DATA_SIZE {
        return Err(RequestError::TooMuchData(count));
    }
    let size = size(region);
    let count = u64::from(count);
    if offset.checked_add(count).is_none_or(|end| end > size) {
        return Err(RequestError::OutOfRegion { region, offset, count, size });
    }
    Ok(())
}

pub(crate) fn region_read(
    payload: &[u8],
    size: impl Fn(u32) -> u64,
) -> Result<RegionAccess, RequestError> {
    let (access, _) = head::<RegionAccess>(payload)?;
    check_access(&access, size)?;
    Ok(access)
}

pub(crate) fn region_write(
    payload: &[u8],
    size: impl Fn(u32) -> u64,
) -> Result<(RegionAccess, &[u8]), RequestError> {
    let (access, data) = head::<RegionAccess>(payload)?;
    check_access(&access, size)?;
    if data.len() != access.count as usize {
        let expected = u64::from(access.count);
        return Err(RequestError::DataLength { got: data.len(), expected });
    }
    Ok((access, data))
}

/// The entries of a REGION_WRITE_MULTI, every one checked before the first is carried out.
pub(crate) fn region_write_multi(
    payload: &[u8],
    size: impl Fn(u32) -> u64,
) -> Result<&[Unalign<RegionWriteEntry>], RequestError> {
    let (count, data) = head::<u64>(payload)?;
    let expected = count.saturating_mul(size_of::<RegionWriteEntry>() as u64);
    // Payloads lie wherever their message does: nothing is promised about their alignment.
    let entries = <[Unalign<RegionWriteEntry>]>::ref_from_bytes(data)
        .ok()
        .filter(|_| data.len() as u64 == expected)
        .ok_or(RequestError::DataLength { got: data.len(), expected })?;
    for entry in entries {
        let RegionWriteEntry { offset, region, count, data } = entry.get();
        if count as usize > data.len() {
            return Err(RequestError::TooMuchData(count));
        }
        check_access(&RegionAccess { offset, region, count }, &size)?;
    }
    Ok(entries)
}

/// No feature is offered; what is left is to say so to questions that are well put.
pub(crate) fn device_feature(payload: &[u8]) -> Result<(), RequestError> {
    let (feature, _) = head::<DeviceFeature>(payload)?;
    check_argsz(feature.argsz, size_of::<DeviceFeature>())?;
    Err(RequestError::NoFeature(feature.flags & 0xffff))
}

/// Migration is not offered. A request for its data starts with argsz and size.
pub(crate) fn migration_data(command: Command, payload: &[u8]) -> Result<(), RequestError> {
    head::<[u32; 2]>(payload)?;
    Err(RequestError::NotOffered(command))
}

/// What a SET_IRQS does with its vectors.
#[derive(Debug)]
pub(crate) enum IrqAction {
    /// Takes all eventfds of the index away.
    Disable,
    /// Assigns the message's eventfds as what is signalled, or takes them away if there are none.
    Assign,
    /// Assigns the message's eventfd as what unmasks the pin.
    AssignUnmask,
    /// Signals the chosen vectors now.
    Trigger,
    /// Masks the chosen vectors.
    Mask,
    /// Unmasks the chosen vectors.
    Unmask,
}

/// A checked SET_IRQS.
#[derive(Debug)]
pub(crate) struct IrqRequest<'p> {
    pub index: IrqIndex,
    pub start: u32,
    pub count: u32,
    pub action: IrqAction,
    /// One byte a vector; without them every vector is chosen.
    chosen: Option<&'p [u8]>,
}

impl IrqRequest<'_> {
    /// The vectors that the action is for.
    pub fn vectors(&self) -> impl Iterator<Item = usize> + '_ {
        let range = self.start..self.start.saturating_add(self.count);
        range.enumerate().filter_map(|(position, vector)| {
            let chosen =
                self.chosen.is_none_or(|bytes| bytes.get(position).is_some_and(|byte| *byte != 0));
            chosen.then_some(vector as usize)
        })
    }
}

/// Checks a SET_IRQS; `available` tells each index's number of vectors.
pub(crate) fn set_irqs<'p>(
    payload: &'p [u8],
    fds: &MessageFds,
    available: impl Fn(IrqIndex) -> u32,
) -> Result<IrqRequest<'p>, RequestError> {
    let (set, data) = head::<IrqSet>(payload)?;
    check_argsz(set.argsz, size_of::<IrqSet>())?;
    let index = irq_index(set.index)?;
    let flags = IrqSetFlags::from_bits(set.flags).ok_or(RequestError::Flags(set.flags))?;
    let kind = flags & IrqSetFlags::DATA_MASK;
    let what = flags & IrqSetFlags::ACTION_MASK_ALL;
    if kind.bits().count_ones() != 1 || what.bits().count_ones() != 1 {
        return Err(RequestError::Flags(set.flags));
    }
    let (start, count) = (set.start, set.count);
    let available = available(index);
    let trigger = what == IrqSetFlags::ACTION_TRIGGER;
    // It takes all vectors of the index away; where it says to start makes no difference.
    let disable = count == 0 && trigger && kind == IrqSetFlags::DATA_NONE && available > 0;
    let in_range =
        start < available && start.checked_add(count).is_some_and(|end| end <= available);
    if !disable && (count == 0 || !in_range) {
        return Err(RequestError::NoVectors { start, count, available });
    }
    let alone = matches!(index, IrqIndex::Error | IrqIndex::Request);
    if alone && (!trigger || count > 1) {
        return Err(RequestError::IrqAction(index));
    }
    let expected_fds = if kind == IrqSetFlags::DATA_EVENTFD { count as usize } else { 0 };
    let got = fds.fds.len();
    fds.check_complete()?;
    if fds.too_many || (got != expected_fds && got != 0) {
        return Err(RequestError::Fds { got, expected: expected_fds });
    }
    let chosen = if kind == IrqSetFlags::DATA_BOOL {
        if data.len() != count as usize {
            return Err(RequestError::DataLength { got: data.len(), expected: u64::from(count) });
        }
        Some(data)
    } else {
        None
    };
    let eventfd = kind == IrqSetFlags::DATA_EVENTFD;
    let action = irq_action(index, what, eventfd, disable)?;
    Ok(IrqRequest { index, start, count, action, chosen })
}

/// What the flags ask for.
fn irq_action(
    index: IrqIndex,
    what: IrqSetFlags,
    eventfd: bool,
    disable: bool,
) -> Result<IrqAction, RequestError> {
    match (what, eventfd) {
        (IrqSetFlags::ACTION_TRIGGER, true) => Ok(IrqAction::Assign),
        (IrqSetFlags::ACTION_TRIGGER, false) if disable => Ok(IrqAction::Disable),
        (IrqSetFlags::ACTION_TRIGGER, false) => Ok(IrqAction::Trigger),
        // As in the kernel: the pin can be unmasked by eventfd, nothing can be masked by one.
        (IrqSetFlags::ACTION_UNMASK, true) if index == IrqIndex::Intx => {
            Ok(IrqAction::AssignUnmask)
        }
        (_, true) => Err(RequestError::IrqAction(index)),
        (IrqSetFlags::ACTION_MASK, false) => Ok(IrqAction::Mask),
        (_, false) => Ok(IrqAction::Unmask),
    }
}

#[cfg(test)]
mod tests;
