//! The features MIGRATION and MIG_DEVICE_STATE, and MIG_DATA_READ and MIG_DATA_WRITE: a device goes
//! from one server to another, with its guest.

use zerocopy::IntoBytes;

use super::request::{Answer, RequestError, check_argsz, feature_data, feature_head, head};
use super::wire::{
    DeviceFeature, MAX_DATA_SIZE, MigrationData, MigrationDeviceState, MigrationFlags,
};
use crate::migration::MigrationState;
use crate::pci::function::PciFunction;

fn parse_set_state(
    request: &DeviceFeature,
    payload: &[u8],
) -> Result<MigrationState, RequestError> {
    check_argsz(request.argsz, payload.len())?;
    let (set, _) = head::<MigrationDeviceState>(feature_data(payload))?;
    let number = set.device_state;
    MigrationState::from_wire(number).ok_or(RequestError::NoMigrationState(number))
}

fn parse_read(payload: &[u8]) -> Result<usize, RequestError> {
    let (request, _) = head::<MigrationData>(payload)?;
    let size = request.size as usize;
    if size > MAX_DATA_SIZE {
        return Err(RequestError::TooMuchData(request.size));
    }
    check_argsz(request.argsz, size_of::<MigrationData>() + size)?;
    Ok(size)
}

fn parse_write(payload: &[u8]) -> Result<&[u8], RequestError> {
    let (request, data) = head::<MigrationData>(payload)?;
    if data.len() != request.size as usize {
        let expected = u64::from(request.size);
        return Err(RequestError::DataLength { got: data.len(), expected });
    }
    Ok(data)
}

/// Says that the device can be migrated.
pub(super) fn flags(request: &DeviceFeature, reply: &mut Vec<u8>) -> Result<Answer, RequestError> {
    let flags = MigrationFlags::STOP_COPY | MigrationFlags::PRE_COPY;
    feature_head(request, size_of::<u64>(), reply)?;
    reply.extend_from_slice(flags.bits().as_bytes());
    Ok(Answer::Reply)
}

/// Says where the device is in its migration.
pub(super) fn get_state(
    function: &PciFunction,
    request: &DeviceFeature,
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    feature_head(request, size_of::<MigrationDeviceState>(), reply)?;
    let device_state = function.migration_state() as u32;
    reply.extend_from_slice(MigrationDeviceState { device_state, data_fd: 0 }.as_bytes());
    Ok(Answer::Reply)
}

/// Takes the device to another state, or begins to: a device that works comes to rest first.
pub(super) fn set_state(
    function: &mut PciFunction,
    request: &DeviceFeature,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    let target = parse_set_state(request, payload)?;
    reply.extend_from_slice(payload);
    if function.migration_state().stops_on_the_way_to(target) {
        return Ok(Answer::AfterStop(target));
    }
    function.migrate_to(target)?;
    Ok(Answer::Reply)
}

/// Gives the next bytes of the device's state.
pub(crate) fn data_read(
    function: &mut PciFunction,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    let size = parse_read(payload)?;
    let data = function.take_migration_data(size)?;
    let argsz = u32::try_from(size_of::<MigrationData>() + data.len()).unwrap_or(u32::MAX);
    let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
    reply.extend_from_slice(MigrationData { argsz, size }.as_bytes());
    reply.extend_from_slice(data);
    Ok(Answer::Reply)
}

/// Takes the next bytes of another device's state.
pub(crate) fn data_write(
    function: &mut PciFunction,
    payload: &[u8],
) -> Result<Answer, RequestError> {
    function.add_migration_data(parse_write(payload)?)?;
    Ok(Answer::Reply)
}
