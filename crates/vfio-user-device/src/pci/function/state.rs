//! A device with everything PCI around it, as a value: the state document.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::PciFunction;
use crate::bus::Bus;
use crate::memory::{DmaQueueState, MemoryState, SharedMemory};
use crate::pci::{ConfigSpaceState, InterruptState};
use crate::state::{Descriptors, DeviceState, FdNumber, Hex, StateError};
use crate::timers::TimerState;

/// Version of the document. It changes whenever a field changes its meaning, comes or goes.
pub(crate) const VERSION: u32 = 1;

/// The state document of one device. Its fields have the names of what they hold.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FunctionState {
    pub(super) version: u32,
    pub(super) connected: bool,
    pub(super) config_space: ConfigSpaceState,
    pub(super) interrupts: InterruptState,
    pub(super) timers: Vec<TimerState>,
    pub(super) memory: MemoryState,
    pub(super) dma: DmaQueueState,
    /// The memory of BARs that the guest maps, by BAR.
    pub(super) shared: Vec<Option<FdNumber>>,
    /// What the device said when it panicked; it plays dead, and has no state.
    pub(super) panic: Option<String>,
    pub(super) device: DeviceState,
}

impl PciFunction {
    /// Saves the device and what is around it. Accesses to guest memory have to be
    /// [held](crate::memory::DmaQueue::hold), and no message to the client on its way.
    ///
    /// # Errors
    /// The device cannot be exchanged, its client migrates it, or descriptors have run out.
    pub fn save(&mut self, fds: &mut Descriptors) -> Result<FunctionState, StateError> {
        if self.is_migrating() {
            return Err(StateError::Migrating);
        }
        let now = Instant::now();
        let device = match self.panic {
            Some(_) => DeviceState::none(),
            None => self.device.save()?,
        };
        let bus = &self.bus;
        let shared = bus.save_shared(fds)?;
        Ok(FunctionState {
            version: VERSION,
            connected: bus.connected,
            config_space: bus.config.save(),
            interrupts: bus.interrupts.save(fds, now)?,
            timers: bus.timers.save(now),
            memory: bus.memory.save(fds)?,
            dma: bus.dma.save(),
            shared,
            panic: self.panic.clone(),
            device,
        })
    }

    /// Takes over the state of another device that looks the same. It is of no use after an error.
    ///
    /// # Errors
    /// The document has another version, or is one of another device.
    pub fn restore(
        &mut self,
        state: FunctionState,
        fds: &mut Descriptors,
    ) -> Result<(), StateError> {
        if state.version != VERSION {
            return Err(StateError::Version { found: state.version, known: VERSION });
        }
        let now = Instant::now();
        let bus = &mut self.bus;
        bus.config.restore(&state.config_space)?;
        bus.interrupts.restore(state.interrupts, fds, now)?;
        bus.memory.restore(state.memory, fds)?;
        bus.dma.restore(state.dma);
        let own = bus.shared.iter().map(Option::is_some);
        if !own.eq(state.shared.iter().map(Option::is_some)) {
            return Err(StateError::Shape { what: "the mappable areas of the BARs" });
        }
        for (memory, number) in bus.shared.iter_mut().zip(state.shared) {
            if let (Some(memory), Some(file)) = (memory, fds.take_some(number)?) {
                memory.replace(file)?;
            }
        }
        bus.timers.restore(&state.timers, now);
        bus.connected = state.connected;
        match state.panic {
            Some(panic) => {
                self.panic = Some(panic);
                self.bus.fall_silent();
                Ok(())
            }
            None => self.device.restore(&mut self.bus, &state.device),
        }
    }
}

impl Bus {
    /// Saves the memory of BARs that the guest maps, by BAR.
    pub(super) fn save_shared(
        &self,
        fds: &mut Descriptors,
    ) -> Result<Vec<Option<FdNumber>>, StateError> {
        let shared = self.shared.iter().map(Option::as_ref);
        shared.map(|memory| fds.add_some(memory.map(SharedMemory::as_fd))).collect()
    }
}

/// What a device takes along to another server. Descriptors and guest memory are the client's there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MigrationDocument {
    function: FunctionState,
    /// What is in the memory of BARs that the guest maps, by BAR.
    shared_memory: Vec<Option<Hex>>,
}

impl PciFunction {
    /// Saves what goes along to another server, as at that time.
    ///
    /// # Errors
    /// The device cannot be migrated.
    pub(super) fn save_to_migrate(
        &mut self,
        now: Instant,
    ) -> Result<MigrationDocument, StateError> {
        let device = self.guarded(Err(panicked()), |function| function.device.save_to_migrate())?;
        let bus = &self.bus;
        let contents = bus.shared.iter().map(|memory| {
            memory.as_ref().map(|memory| {
                let mut bytes = vec![0; memory.len()];
                memory.read(0, &mut bytes);
                Hex(bytes)
            })
        });
        Ok(MigrationDocument {
            function: FunctionState {
                version: VERSION,
                connected: false,
                config_space: bus.config.save(),
                interrupts: bus.interrupts.save_levels(),
                timers: bus.timers.save(now),
                memory: MemoryState::default(),
                dma: DmaQueueState::default(),
                shared: Vec::new(),
                panic: None,
                device,
            },
            shared_memory: contents.collect(),
        })
    }

    /// Takes over what a device has taken along from another server. The document has come from the
    /// client. After an error the device has to be reset.
    ///
    /// # Errors
    /// The document has another version, or is one of another device.
    pub(super) fn restore_migrated(
        &mut self,
        document: MigrationDocument,
        now: Instant,
    ) -> Result<(), StateError> {
        let MigrationDocument { function: state, shared_memory } = document;
        if state.version != VERSION {
            return Err(StateError::Version { found: state.version, known: VERSION });
        }
        self.reset_device();
        let bus = &mut self.bus;
        bus.config.restore(&state.config_space)?;
        bus.interrupts.adopt(&state.interrupts)?;
        let length = |memory: &Option<SharedMemory>| memory.as_ref().map(SharedMemory::len);
        let lengths = shared_memory.iter().map(|bytes| bytes.as_ref().map(|bytes| bytes.0.len()));
        if !bus.shared.iter().map(length).eq(lengths) {
            return Err(StateError::Shape { what: "the mappable areas of the BARs" });
        }
        for (memory, bytes) in bus.shared.iter().flatten().zip(shared_memory.iter().flatten()) {
            memory.write(0, &bytes.0);
        }
        bus.timers.restore(&state.timers, now);
        self.guarded(Err(panicked()), |function| {
            function.device.restore_migrated(&mut function.bus, &state.device)
        })
    }
}

fn panicked() -> StateError {
    StateError::Content("the device has panicked".into())
}
