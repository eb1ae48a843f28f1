//! Accesses that fit no register, for people.

use log::Level;

use super::PciFunction;
use crate::access::{Access, Bytes};
use crate::pci::register::{RegisterName, mismatch};

/// How many accesses that fit no register are logged for one client where only information is asked
/// for: a guest could fill a disk with them.
const MAX_MISMATCH_LINES: u32 = 10;

impl PciFunction {
    /// Name of what an access is for, for people.
    pub(super) fn name(&self, access: Access) -> RegisterName<'_> {
        let bar = self.config.bars.get(access.bar).and_then(Option::as_ref);
        RegisterName { access, bar }
    }

    /// Tells a driver's author of an access that fits no register: what the device makes of it is
    /// its own affair, and hardly what was meant.
    pub(super) fn log_mismatch(&mut self, direction: &str, access: Access) {
        let level = if self.mismatches < MAX_MISMATCH_LINES { Level::Info } else { Level::Debug };
        if !log::log_enabled!(level) {
            return;
        }
        let Some(bar) = self.config.bars.get(access.bar).and_then(Option::as_ref) else {
            return;
        };
        let Some(mismatch) = mismatch(bar, access) else {
            return;
        };
        self.mismatches = self.mismatches.saturating_add(1);
        let last = if self.mismatches == MAX_MISMATCH_LINES {
            " (more of these with debug only)"
        } else {
            ""
        };
        let Access { bar, offset, width } = access;
        let width = Bytes(width.bytes() as u64);
        log::log!(level, "BAR {bar}: {direction} of {width} at {offset:#x}: {mismatch}{last}");
    }
}
