//! DMA_MAP and DMA_UNMAP: which guest memory the device may reach.

use zerocopy::IntoBytes;

use super::message_fds::MessageFds;
use super::request::{Answer, RequestError, check_argsz, head};
use super::wire::{DmaMap, DmaMapFlags, DmaUnmap, DmaUnmapFlags};
use crate::memory::log_not_shared;
use crate::pci::function::PciFunction;

/// Which warnings this client's log has already.
#[derive(Debug, Default)]
pub(crate) struct MapWarnings {
    of_private_memory: bool,
    of_many_maps: bool,
}

/// A checked DMA_MAP: also what the device may do, and how a file that comes along is accessed.
fn parse_map(payload: &[u8]) -> Result<(DmaMap, DmaMapFlags), RequestError> {
    let (map, _) = head::<DmaMap>(payload)?;
    check_argsz(map.argsz, size_of::<DmaMap>())?;
    let flags = DmaMapFlags::from_bits(map.flags).ok_or(RequestError::Flags(map.flags))?;
    Ok((map, flags))
}

/// A checked DMA_UNMAP, and whether it is for all regions.
fn parse_unmap(payload: &[u8]) -> Result<(DmaUnmap, bool), RequestError> {
    let (unmap, _) = head::<DmaUnmap>(payload)?;
    check_argsz(unmap.argsz, size_of::<DmaUnmap>())?;
    let flags = DmaUnmapFlags::from_bits_retain(unmap.flags);
    let all = flags == DmaUnmapFlags::ALL && unmap.address == 0 && unmap.size == 0;
    if all || flags.is_empty() { Ok((unmap, all)) } else { Err(RequestError::Flags(unmap.flags)) }
}

/// Announces a region of guest memory.
pub(crate) fn map(
    function: &mut PciFunction,
    warned: &mut MapWarnings,
    payload: &[u8],
    fds: MessageFds,
) -> Result<Answer, RequestError> {
    let (map, flags) = parse_map(payload)?;
    fds.check_complete()?;
    let MessageFds { mut fds, too_many, .. } = fds;
    if too_many || fds.len() > 1 {
        return Err(RequestError::Fds { got: fds.len(), expected: 1 });
    }
    let file = fds.pop().map(|fd| (fd, map.offset));
    let by_message = file.is_none();
    let memory = &mut function.bus.memory;
    memory.map(map.address, map.size, flags, file)?;
    let slow = !by_message && !memory.has_file(map.address) && !memory.is_private();
    if slow && !warned.of_many_maps {
        warned.of_many_maps = true;
        log::warn!(
            "guest memory at {:#x} is reached by slow messages: this guest has announced more \
             regions, or larger ones, than the process can map for one of many, or its file \
             cannot be mapped",
            map.address
        );
    }
    let private = by_message && flags.contains(DmaMapFlags::WRITE);
    if private && !warned.of_private_memory && !function.bus.memory.has_any_file() {
        warned.of_private_memory = true;
        log_not_shared(map.address, map.size);
    }
    Ok(Answer::Reply)
}

/// Takes regions of guest memory back.
pub(crate) fn unmap(
    function: &mut PciFunction,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    let (request, all) = parse_unmap(payload)?;
    let bus = &mut function.bus;
    let (address, size) = if all { (0, u64::MAX) } else { (request.address, request.size) };
    if all {
        bus.memory.clear();
    } else if !bus.memory.unmap(address, size) {
        return Err(RequestError::NotWholeRegions { address, size });
    }
    if bus.dma.in_flight().any(|access| access.touches(address, size)) {
        return Ok(Answer::Later(request));
    }
    reply.extend_from_slice(request.as_bytes());
    Ok(Answer::Reply)
}

#[cfg(test)]
mod tests;
