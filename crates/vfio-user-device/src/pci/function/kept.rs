//! Keeping a device and all of PCI around it in a state page, as they change.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::PciFunction;
use super::state::{FunctionState, VERSION};
use crate::bus::Bus;
use crate::device::Device;
use crate::keeper::{Ledger, Map, Part, Unkept};
use crate::pci::InterruptState;
use crate::state::{Descriptors, DeviceState, FdNumber, StateError};
use crate::timers::TimerState;

/// What is neither the device's nor one of the parts with a name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FunctionPart {
    version: u32,
    connected: bool,
    shared: Vec<Option<FdNumber>>,
    panic: Option<String>,
}

/// Timers, and the moment at which they had that time left, by the system's clock.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimersPart {
    at: std::time::Duration,
    timers: Vec<TimerState>,
}

/// The time of the clock that all processes share.
fn monotonic() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    std::time::Duration::try_from(time).unwrap_or_default()
}

impl PciFunction {
    /// Notes whether the device's own code is run, and that it was.
    pub(super) fn set_inside(&mut self, inside: bool) {
        self.touched = true;
        if let Some(ledger) = &self.bus.ledger {
            ledger.map().set_inside(inside);
        }
    }

    /// Whether something was changed that is to be kept.
    pub fn is_changed(&self) -> bool {
        self.touched || self.bus.is_changed()
    }

    /// Lets all be written anew.
    pub fn mark_all(&mut self) {
        self.touched = true;
        self.bus.mark_all();
    }

    /// Writes what has changed; `whole` also what seldom changes.
    pub fn write_parts(&mut self, ledger: &mut Ledger, whole: bool) {
        self.bus.write_parts(ledger);
        if std::mem::take(&mut self.touched) && self.panic.is_none() {
            ledger.write_device(&*self.device);
        }
        if whole || self.panic.is_some() {
            self.write_function(ledger);
        }
    }

    fn write_function(&self, ledger: &mut Ledger) {
        let mut fds = Descriptors::named();
        let part = self.bus.save_shared(&mut fds).map(|shared| FunctionPart {
            version: VERSION,
            connected: self.bus.connected,
            shared,
            panic: self.panic.clone(),
        });
        ledger.write_result(Part::Function, part, fds);
    }
}

impl Bus {
    /// Keeps the device as it is now, if it [is kept](Bus::is_kept). The kit does so after each message
    /// and whatever else it calls the device for. A task calls it before it does something in guest memory
    /// that must not be done twice, after it has noted that in the device.
    pub fn checkpoint(&mut self, device: &dyn Device) {
        if let Some(mut ledger) = self.ledger.take() {
            self.write_parts(&mut ledger);
            ledger.write_device(device);
            ledger.commit(false, false);
            self.ledger = Some(ledger);
        }
    }

    fn is_changed(&self) -> bool {
        self.config.is_changed()
            || self.interrupts.is_changed()
            || self.timers.is_changed()
            || self.memory.is_changed()
            || self.dma.is_changed()
    }

    fn mark_all(&mut self) {
        self.config.mark();
        self.interrupts.mark();
        self.timers.mark();
        self.memory.mark();
        self.dma.mark();
    }

    /// Writes the parts that have changed.
    pub(crate) fn write_parts(&mut self, ledger: &mut Ledger) {
        if self.config.take_changed() {
            ledger.write(Part::Config, &self.config.save(), Descriptors::named());
        }
        if self.interrupts.take_changed() {
            let mut fds = Descriptors::named();
            let part = self.interrupts.save(&mut fds, Instant::now());
            ledger.write_result(Part::Interrupts, part, fds);
        }
        if self.timers.take_changed() {
            let part = TimersPart { at: monotonic(), timers: self.timers.save(Instant::now()) };
            ledger.write(Part::Timers, &part, Descriptors::named());
        }
        if self.memory.take_changed() {
            let mut fds = Descriptors::named();
            let part = self.memory.save(&mut fds);
            ledger.write_result(Part::Memory, part, fds);
        }
        if self.dma.take_changed() {
            ledger.write(Part::Dma, &self.dma.save(), Descriptors::named());
        }
    }
}

impl Ledger {
    /// Writes what the device says of itself.
    pub(crate) fn write_device(&mut self, device: &dyn Device) {
        if self.without_device {
            return;
        }
        let state = match device.save() {
            Ok(state) => Some(state),
            Err(error) => {
                log::warn!("a crash of this program takes the device down: {error}");
                self.without_device = true;
                None
            }
        };
        self.write(Part::Device, &state, Descriptors::named());
    }

    /// Writes a part that descriptors can be missing for.
    fn write_result<T: Serialize>(
        &mut self,
        part: Part,
        value: Result<T, StateError>,
        fds: Descriptors,
    ) {
        match value {
            Ok(value) => self.write(part, &value, fds),
            Err(error) => {
                log::warn!("{part:?} of a device is not kept, a crash loses its client: {error}");
                self.map().set_unkept(Unkept::Part, true);
            }
        }
    }
}

impl FunctionState {
    /// Puts the parts of a page together. `down` is why the device is not to be run any more.
    ///
    /// # Errors
    /// A part does not say what it should.
    pub fn of_parts(
        map: &Map,
        device: Option<DeviceState>,
        down: Option<String>,
    ) -> Result<Self, StateError> {
        let FunctionPart { version, connected, shared, panic } = map.part(Part::Function)?;
        let TimersPart { at, timers } = map.part(Part::Timers)?;
        let passed = monotonic().saturating_sub(at);
        Ok(FunctionState {
            version,
            connected,
            config_space: map.part(Part::Config)?,
            interrupts: map.part::<InterruptState>(Part::Interrupts)?.after_crash(),
            timers: timers.into_iter().map(|timer| timer.after(passed)).collect(),
            memory: map.part(Part::Memory)?,
            dma: map.part(Part::Dma)?,
            shared,
            panic: panic.or(down),
            device: device.unwrap_or_else(DeviceState::none),
        })
    }
}
