//! A round of the device's tasks: for so long its device and its bus are theirs.

use std::mem;
use std::sync::{Arc, PoisonError};

use super::config::{DeviceConfig, Identity};
use super::function::PciFunction;
use crate::access::Access;
use crate::bus::Bus;
use crate::device::Device;
use crate::task::{Lent, Slot};

/// Stands in a device's place while its tasks have it.
struct Absent;

impl Device for Absent {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(0, 0))
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}
}

/// A round: the function's device and bus are in the slot until this value is dropped, also by a
/// panic.
struct Round<'f> {
    function: &'f mut PciFunction,
    slot: Arc<Slot>,
}

impl<'f> Round<'f> {
    fn begin(function: &'f mut PciFunction) -> Self {
        let slot: Arc<Slot> = function.bus.tasks.slot();
        let spare = function.spare.take().unwrap_or_else(|| Box::new(Bus::placeholder()));
        let device = mem::replace(&mut function.device, Box::new(Absent));
        let bus = mem::replace(&mut function.bus, spare);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Lent { device, bus });
        Round { function, slot }
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let lent = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Lent { device, bus }) = lent {
            self.function.device = device;
            self.function.spare = Some(mem::replace(&mut self.function.bus, bus));
        }
    }
}

impl PciFunction {
    /// Polls every task that can go on, once.
    pub fn run_tasks(&mut self) {
        let mut tasks = self.bus.tasks.begin_round();
        let polled = self.guarded(false, |function| {
            let _round = Round::begin(function);
            tasks.poll();
            true
        });
        if polled {
            self.bus.tasks.end_round(tasks);
        }
    }
}
