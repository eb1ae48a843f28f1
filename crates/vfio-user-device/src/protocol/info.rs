//! What a client may ask about the device: its regions and interrupts, and what is not offered.

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::request::{Answer, RequestError, check_argsz, check_region, head, wire_size};
use super::wire::{
    Command, DeviceFlags, DeviceInfo, IRQ_INDEX_COUNT, MmapArea, REGION_COUNT, RegionFlags,
    RegionInfo, RegionIoFds, SparseMmapCapability,
};
use crate::pci::function::PciFunction;

fn parse_region_info(payload: &[u8]) -> Result<RegionInfo, RequestError> {
    let (info, _) = head::<RegionInfo>(payload)?;
    check_argsz(info.argsz, size_of::<RegionInfo>())?;
    check_region(info.index)?;
    Ok(info)
}

/// No ioeventfds are offered; well-formed requests are told so.
pub(crate) fn region_io_fds(payload: &[u8]) -> Result<Answer, RequestError> {
    let (request, _) = head::<RegionIoFds>(payload)?;
    check_argsz(request.argsz, size_of::<RegionIoFds>())?;
    if request.flags != 0 || request.count != 0 {
        return Err(RequestError::Flags(request.flags));
    }
    check_region(request.index)?;
    Err(RequestError::NotOffered(Command::DeviceGetRegionIoFds))
}

/// Tells how many regions and interrupt indexes there are.
pub(crate) fn device_info(payload: &[u8], reply: &mut Vec<u8>) -> Result<Answer, RequestError> {
    let (asked, _) = head::<DeviceInfo>(payload)?;
    check_argsz(asked.argsz, size_of::<DeviceInfo>())?;
    let info = DeviceInfo {
        argsz: wire_size::<DeviceInfo>(),
        flags: (DeviceFlags::RESET | DeviceFlags::PCI).bits(),
        num_regions: REGION_COUNT,
        num_irqs: IRQ_INDEX_COUNT,
    };
    reply.extend_from_slice(info.as_bytes());
    Ok(Answer::Reply)
}

/// Describes a region. A BAR that can be mapped comes with its file; if only parts of it can,
/// a capability lists them, provided that the client has room for it.
pub(crate) fn region_info(
    function: &PciFunction,
    client_takes_fds: bool,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    let asked = parse_region_info(payload)?;
    let size = function.region_size(asked.index);
    let mut info = RegionInfo {
        argsz: wire_size::<RegionInfo>(),
        flags: 0,
        index: asked.index,
        cap_offset: 0,
        size,
        offset: 0,
    };
    let mut flags = RegionFlags::empty();
    flags.set(RegionFlags::READ | RegionFlags::WRITE, size > 0);
    let mut file = None;
    let mut capability = Vec::new();
    if let Some(bar) = function.bar(asked.index).filter(|bar| !bar.mmap_areas.is_empty()) {
        let whole = 0..bar.size;
        if bar.mmap_areas != [whole] {
            capability = sparse_mmap(&bar.mmap_areas);
            info.argsz += u32::try_from(capability.len()).unwrap_or(u32::MAX);
        }
        let shared = function.bus.shared_memory(asked.index as usize);
        if let Some(shared) = shared.filter(|_| client_takes_fds && asked.argsz >= info.argsz) {
            flags |= RegionFlags::MMAP;
            let errno = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
            file = Some(shared.as_fd().try_clone_to_owned().map_err(errno)?);
            if !capability.is_empty() {
                flags |= RegionFlags::CAPS;
                info.cap_offset = wire_size::<RegionInfo>();
            }
        }
    }
    info.flags = flags.bits();
    reply.extend_from_slice(info.as_bytes());
    if flags.contains(RegionFlags::CAPS) {
        reply.extend_from_slice(&capability);
    }
    Ok(file.map_or(Answer::Reply, Answer::ReplyWithFd))
}

/// The capability that lists the mappable parts of a region.
fn sparse_mmap(parts: &[std::ops::Range<u64>]) -> Vec<u8> {
    let head = SparseMmapCapability {
        id: SparseMmapCapability::ID,
        version: SparseMmapCapability::VERSION,
        next: 0,
        nr_areas: u32::try_from(parts.len()).unwrap_or(u32::MAX),
        reserved: 0,
    };
    let areas =
        parts.iter().map(|part| MmapArea { offset: part.start, size: part.end - part.start });
    let areas: Vec<MmapArea> = areas.collect();
    [head.as_bytes(), areas.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
