//! DEVICE_FEATURE: what can be got, set and probed of a device.

use super::request::{Answer, RequestError, check_argsz, head};
use super::wire::{DeviceFeature, DeviceFeatureFlags, Feature};
use super::{dma_logging, migration};
use crate::pci::function::PciFunction;

/// What to do, with which feature.
fn parse(payload: &[u8]) -> Result<(DeviceFeature, Feature, DeviceFeatureFlags), RequestError> {
    let (request, _) = head::<DeviceFeature>(payload)?;
    check_argsz(request.argsz, size_of::<DeviceFeature>())?;
    let number = request.flags & 0xffff;
    let feature = Feature::from_wire(number).ok_or(RequestError::NoFeature(number))?;
    let methods = DeviceFeatureFlags::from_bits(request.flags & !0xffff);
    let methods = methods.ok_or(RequestError::Flags(request.flags))?;
    let probe = methods.contains(DeviceFeatureFlags::PROBE);
    let methods = methods.difference(DeviceFeatureFlags::PROBE);
    let one = methods == DeviceFeatureFlags::GET || methods == DeviceFeatureFlags::SET;
    if !feature.methods().contains(methods) || !probe && !one {
        return Err(RequestError::Flags(request.flags));
    }
    Ok((request, feature, if probe { DeviceFeatureFlags::PROBE } else { methods }))
}

/// Gets, sets or probes a feature.
pub(crate) fn device_feature(
    function: &mut PciFunction,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    let (request, feature, method) = parse(payload)?;
    let migrates = matches!(feature, Feature::Migration | Feature::MigrationDeviceState);
    if migrates && !function.can_migrate() {
        return Err(RequestError::NoFeature(feature as u32));
    }
    if method == DeviceFeatureFlags::PROBE {
        check_argsz(request.argsz, payload.len())?;
        reply.extend_from_slice(payload);
        return Ok(Answer::Reply);
    }
    match feature {
        Feature::Migration => migration::flags(&request, reply),
        Feature::MigrationDeviceState if method == DeviceFeatureFlags::GET => {
            migration::get_state(function, &request, reply)
        }
        Feature::MigrationDeviceState => migration::set_state(function, &request, payload, reply),
        Feature::DmaLoggingStart => dma_logging::start(function, &request, payload, reply),
        Feature::DmaLoggingStop => dma_logging::stop(function, &request, payload, reply),
        Feature::DmaLoggingReport => dma_logging::report(function, &request, payload, reply),
    }
}
