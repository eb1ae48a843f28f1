//! REGION_READ, REGION_WRITE and REGION_WRITE_MULTI: a guest's accesses to registers.

use zerocopy::{FromBytes, IntoBytes, Unalign};

use super::request::{Answer, RequestError, check_region, head};
use super::wire::{CONFIG_REGION, MAX_DATA_SIZE, RegionAccess, RegionWriteEntry};
use crate::pci::function::PciFunction;

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

fn parse_read(payload: &[u8], size: impl Fn(u32) -> u64) -> Result<RegionAccess, RequestError> {
    let (access, _) = head::<RegionAccess>(payload)?;
    check_access(&access, size)?;
    Ok(access)
}

fn parse_write(
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
fn parse_write_multi(
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

/// A device that stands still for its migration has no registers, but configuration space.
fn check_works(function: &PciFunction, region: u32) -> Result<(), RequestError> {
    let silent = function.bus.stopped && region != CONFIG_REGION;
    if silent { Err(RequestError::StandsStill) } else { Ok(()) }
}

/// Reads from a region.
pub(crate) fn read(
    function: &mut PciFunction,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    let access = parse_read(payload, |region| function.region_size(region))?;
    check_works(function, access.region)?;
    if access.count == 0 {
        return Ok(Answer::Reply);
    }
    reply.extend_from_slice(access.as_bytes());
    let start = reply.len();
    reply.resize(start + access.count as usize, 0);
    let data = reply.get_mut(start..).unwrap_or_default();
    function.read(access.region, access.offset, data);
    Ok(Answer::Reply)
}

/// Writes to a region.
pub(crate) fn write(
    function: &mut PciFunction,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    let (access, data) = parse_write(payload, |region| function.region_size(region))?;
    check_works(function, access.region)?;
    if access.count == 0 {
        return Ok(Answer::Reply);
    }
    function.write(access.region, access.offset, data);
    reply.extend_from_slice(access.as_bytes());
    Ok(Answer::Reply)
}

/// Carries several writes out.
pub(crate) fn write_multi(
    function: &mut PciFunction,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    let entries = parse_write_multi(payload, |region| function.region_size(region))?;
    entries.iter().try_for_each(|entry| check_works(function, entry.get().region))?;
    for entry in entries.iter().map(Unalign::get) {
        let data = entry.data.get(..entry.count as usize).unwrap_or_default();
        function.write(entry.region, entry.offset, data);
    }
    reply.extend_from_slice((entries.len() as u64).as_bytes());
    Ok(Answer::Reply)
}

#[cfg(test)]
mod tests;
