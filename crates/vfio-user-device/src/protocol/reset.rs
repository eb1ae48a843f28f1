//! DEVICE_RESET.

use super::request::Answer;
use crate::pci::function::PciFunction;

/// Resets the device.
pub(crate) fn reset(function: &mut PciFunction) -> Answer {
    log::info!("device reset");
    function.reset();
    Answer::Reply
}
