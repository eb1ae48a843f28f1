//! What a driver has written to configuration space, as a value.

use serde::{Deserialize, Serialize};

use super::{BARS, COMMAND, ConfigSpace, FIRST_CAPABILITY, INTERRUPT_LINE, SIZE};
use crate::state::{Hex, StateError};

/// Configuration space. What a driver may write and what it finds after a reset are all that a guest
/// sees of a device's configuration, so they tell whether another device looks the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigSpaceState {
    bytes: Hex,
    writable: Hex,
    at_reset: Hex,
}

impl ConfigSpace {
    /// Saves it.
    pub fn save(&self) -> ConfigSpaceState {
        ConfigSpaceState {
            bytes: Hex(self.bytes.to_vec()),
            writable: Hex(self.writable.to_vec()),
            at_reset: Hex(self.at_reset.to_vec()),
        }
    }

    /// Takes over what a driver has written to another device's.
    ///
    /// # Errors
    /// A guest would notice that this is another device.
    pub fn restore(&mut self, state: &ConfigSpaceState) -> Result<(), StateError> {
        let bytes = state.bytes.array::<SIZE>()?;
        let writable = state.writable.array::<SIZE>()?;
        let at_reset = state.at_reset.array::<SIZE>()?;
        let differs = |offset: &usize| {
            let own = (self.writable.get(*offset), self.at_reset.get(*offset));
            own != (writable.get(*offset), at_reset.get(*offset))
        };
        if let Some(offset) = (0..SIZE).find(differs) {
            return Err(StateError::Shape { what: part(offset) });
        }
        self.reset();
        self.write(0, &bytes);
        Ok(())
    }
}

/// What a place in configuration space tells of a device, in the plural.
fn part(offset: usize) -> &'static str {
    match offset {
        0..COMMAND => "vendor and device id",
        BARS..0x28 => "the BARs",
        FIRST_CAPABILITY.. | 0x34..INTERRUPT_LINE => "the capabilities",
        INTERRUPT_LINE..FIRST_CAPABILITY => "the interrupts",
        _ => "revision, class or subsystem",
    }
}
