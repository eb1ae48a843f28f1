//! The features DMA_LOGGING_START, DMA_LOGGING_STOP and DMA_LOGGING_REPORT: which pages of guest
//! memory the device has written.
//!
//! What it writes by message is the client's to know, and not reported.

use zerocopy::{FromBytes, IntoBytes, Unalign};

use super::request::{Answer, RequestError, check_argsz, feature_data, feature_head, head};
use super::wire::{
    DeviceFeature, DmaLoggingControl, DmaLoggingRange, DmaLoggingReport, MAX_DATA_SIZE,
};
use crate::pci::function::PciFunction;

fn parse_control(data: &[u8]) -> Result<DmaLoggingControl, RequestError> {
    let (control, ranges) = head::<DmaLoggingControl>(data)?;
    let expected = u64::from(control.num_ranges) * size_of::<DmaLoggingRange>() as u64;
    let ranges = <[Unalign<DmaLoggingRange>]>::ref_from_bytes(ranges)
        .ok()
        .filter(|_| ranges.len() as u64 == expected)
        .ok_or(RequestError::DataLength { got: ranges.len(), expected })?;
    for range in ranges {
        let DmaLoggingRange { iova, length } = range.get();
        check_range(iova, length)?;
    }
    Ok(control)
}

fn check_range(iova: u64, length: u64) -> Result<(), RequestError> {
    let last = length.checked_sub(1).and_then(|rest| iova.checked_add(rest));
    last.map(|_| ()).ok_or(RequestError::NotARange { iova, length })
}

/// A checked range, and the bytes of its bitmap: whole numbers of 64 bits.
fn parse_report(data: &[u8]) -> Result<(DmaLoggingReport, usize), RequestError> {
    let (report, _) = head::<DmaLoggingReport>(data)?;
    let DmaLoggingReport { iova, length, page_size } = report;
    check_range(iova, length)?;
    if !page_size.is_power_of_two() || page_size > length {
        return Err(RequestError::PageSize(page_size));
    }
    let bytes = length.div_ceil(page_size).div_ceil(64) * 8;
    let fits = usize::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_DATA_SIZE);
    Ok((report, fits.ok_or(RequestError::Bitmap(bytes))?))
}

/// Starts to log. All that the device writes is logged, whichever ranges the client names.
pub(super) fn start(
    function: &mut PciFunction,
    request: &DeviceFeature,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    check_argsz(request.argsz, payload.len())?;
    let control = parse_control(feature_data(payload))?;
    let page_size = function
        .bus
        .memory
        .start_log(control.page_size)
        .ok_or(RequestError::PageSize(control.page_size))?;
    reply.extend_from_slice(request.as_bytes());
    reply.extend_from_slice(DmaLoggingControl { page_size, ..control }.as_bytes());
    reply.extend_from_slice(payload.get(reply.len()..).unwrap_or_default());
    Ok(Answer::Reply)
}

/// Stops to log, and forgets what was logged. Data that a client sends along mean nothing.
pub(super) fn stop(
    function: &mut PciFunction,
    request: &DeviceFeature,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    check_argsz(request.argsz, payload.len())?;
    function.bus.memory.stop_log();
    reply.extend_from_slice(payload);
    Ok(Answer::Reply)
}

/// Says which pages of a range were written since they were last asked for.
pub(super) fn report(
    function: &mut PciFunction,
    request: &DeviceFeature,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    let (report, bytes) = parse_report(feature_data(payload))?;
    if !function.bus.memory.has_log() {
        return Err(RequestError::NoLog);
    }
    feature_head(request, size_of::<DmaLoggingReport>() + bytes, reply)?;
    reply.extend_from_slice(report.as_bytes());
    let start = reply.len();
    reply.resize(start + bytes, 0);
    let bitmap = reply.get_mut(start..).unwrap_or_default();
    let DmaLoggingReport { iova, length, page_size } = report;
    function.bus.memory.report_log(iova, length, page_size, bitmap);
    Ok(Answer::Reply)
}
