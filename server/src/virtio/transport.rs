//! The registers of a virtio device on PCI: status, features, one queue, interrupts.
//!
//! Both interfaces, modern and legacy, show one state. What a driver wrote lives in `State` and is
//! gone with a reset; what remains is what the device offers.

use vfio_user_kit::{Access, Bus, Description, DmaDone, DmaError};

use super::chain::Request;
use super::fault::Fault;
use super::flags::{Features, Status};
use super::layout::{self, DeviceType, Interface, LEGACY_BAR, MODERN_BAR, VECTORS};
use super::queue::{self, Areas, MAX_QUEUE_SIZE, Progress, Virtqueue};
use super::registers::{common, legacy};

/// "No vector": the driver does not want to hear of it, section 4.1.5.1.2.
const NO_VECTOR: u16 = 0xffff;
/// The only queue.
const QUEUE: u16 = 0;

/// Why the device interrupts, section 4.1.4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Cause {
    Queue = 1,
    Configuration = 2,
}

/// What the driver has written since the last reset.
#[derive(Debug)]
struct State {
    status: Status,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    /// It has accepted features beyond the first 64, none of which exist.
    accepts_unknown: bool,
    config_vector: u16,
    queue_select: u16,
    queue_vector: u16,
    queue_enabled: bool,
    areas: Areas,
    isr: u8,
}

impl Default for State {
    fn default() -> Self {
        State {
            status: Status::default(),
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            accepts_unknown: false,
            config_vector: NO_VECTOR,
            queue_select: 0,
            queue_vector: NO_VECTOR,
            queue_enabled: false,
            areas: Areas { size: MAX_QUEUE_SIZE, ..Areas::default() },
            isr: 0,
        }
    }
}

/// A virtio device's side of the PCI bus.
#[derive(Debug)]
pub struct Transport {
    device: DeviceType,
    interface: Interface,
    offered: Features,
    msix: bool,
    state: State,
    /// Running: enabled, and the driver is ready.
    queue: Option<Box<dyn Virtqueue>>,
    /// The status before a reset that waits for the last access to guest memory.
    resetting: Option<Status>,
}

impl Transport {
    /// The transport of a device that offers [`Features::OFFERED`].
    pub fn new(device: DeviceType, interface: Interface) -> Self {
        Transport {
            device,
            interface,
            offered: Features::OFFERED,
            msix: true,
            state: State::default(),
            queue: None,
            resetting: None,
        }
    }

    /// Offers a packed queue, too.
    pub fn offer_packed_queue(&mut self) {
        self.offered |= Features::RING_PACKED;
    }

    /// Leaves MSI-X out: the interrupt pin is all there is.
    pub fn leave_msix_out(&mut self) {
        self.msix = false;
    }

    /// What the guest finds in configuration space.
    pub fn describe(&self) -> Description {
        layout::describe(self.device, self.interface, self.msix)
    }

    /// The request that waits for an answer.
    pub fn request(&self) -> Option<&Request> {
        self.queue.as_ref()?.request()
    }

    /// Answers it.
    pub fn answer(&mut self, bus: &mut Bus, bytes: Vec<u8>) {
        let answered = self.queue.as_mut().map_or(Ok(()), |queue| queue.answer(bus, bytes));
        self.check(bus, answered);
    }

    /// Goes on after an access to guest memory. Returns memory that an answer's bytes were in, for
    /// those of the next one.
    pub fn dma_done(&mut self, bus: &mut Bus, done: DmaDone) -> Option<Vec<u8>> {
        if done.result == Err(DmaError::Disconnected) {
            self.queue = None;
            return None;
        }
        match self.queue.as_mut()?.dma_done(bus, done.result) {
            Ok(Progress::None | Progress::Request) => {}
            Ok(Progress::Written(bytes)) => return Some(bytes),
            Ok(Progress::Interrupt) => self.interrupt(bus, Cause::Queue),
            Err(fault) => self.fail(bus, &fault),
        }
        None
    }

    /// Back to power-on: nothing of the driver is left.
    pub fn reset(&mut self, bus: &mut Bus) {
        bus.cancel_dma();
        bus.clear_interrupts();
        self.state = State::default();
        self.queue = None;
        self.resetting = None;
    }

    /// The client has gone, and the guest with it.
    pub fn disconnected(&mut self, bus: &mut Bus) {
        self.reset(bus);
    }

    /// The driver broke a rule, or its memory is gone: the device stops, and says so.
    pub fn fail(&mut self, bus: &mut Bus, fault: &Fault) {
        log::warn!("virtio: the device has to be reset: {fault}");
        bus.cancel_dma();
        self.queue = None;
        self.state.status |= Status::DEVICE_NEEDS_RESET;
        if self.state.status.contains(Status::DRIVER_OK) {
            self.interrupt(bus, Cause::Configuration);
        }
    }

    fn check(&mut self, bus: &mut Bus, result: Result<(), Fault>) {
        match result {
            // There is no guest to tell.
            Ok(()) | Err(Fault::Memory(DmaError::Disconnected)) => {}
            Err(fault) => self.fail(bus, &fault),
        }
    }

    fn interrupt(&mut self, bus: &mut Bus, cause: Cause) {
        let msix = bus.msix_enabled();
        // Section 4.1.4.5.1: with MSI-X the bit for answers is not used, the other one is.
        if !msix || cause == Cause::Configuration {
            self.state.isr |= cause as u8;
        }
        let vector = match cause {
            Cause::Queue => self.state.queue_vector,
            Cause::Configuration => self.state.config_vector,
        };
        if !msix {
            bus.set_interrupt_pin(true);
        } else if vector != NO_VECTOR {
            bus.raise(vector);
        }
    }

    /// Reading the ISR status takes the interrupt back.
    fn take_isr(&mut self, bus: &mut Bus) -> u8 {
        bus.set_interrupt_pin(false);
        std::mem::take(&mut self.state.isr)
    }

    /// The driver reads a register.
    pub fn read(&mut self, bus: &mut Bus, access: Access) -> u64 {
        let offset = access.offset;
        match access.bar {
            LEGACY_BAR => self.read_legacy(bus, offset),
            MODERN_BAR if layout::COMMON.contains(&offset) => self.read_common(bus, offset),
            MODERN_BAR if offset == layout::ISR.start => self.take_isr(bus).into(),
            _ => 0,
        }
    }

    /// The driver writes a register.
    pub fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        let offset = access.offset;
        match access.bar {
            LEGACY_BAR => self.write_legacy(bus, offset, value),
            MODERN_BAR if layout::COMMON.contains(&offset) => {
                self.write_common(bus, offset, value);
            }
            MODERN_BAR if layout::NOTIFY.contains(&offset) => self.notify(bus, low16(value)),
            _ => {}
        }
    }

    fn read_common(&mut self, bus: &Bus, offset: u64) -> u64 {
        let status = self.status(bus);
        let state = &self.state;
        match offset {
            common::DEVICE_FEATURE_SELECT => state.device_feature_select.into(),
            common::DEVICE_FEATURE => half(self.offered.bits(), state.device_feature_select).into(),
            common::DRIVER_FEATURE_SELECT => state.driver_feature_select.into(),
            common::DRIVER_FEATURE => {
                half(state.driver_features, state.driver_feature_select).into()
            }
            common::CONFIG_VECTOR => state.config_vector.into(),
            common::QUEUE_COUNT => 1,
            common::STATUS => status.bits().into(),
            common::QUEUE_SELECT => state.queue_select.into(),
            // The other registers are a queue's.
            common::QUEUE_VECTOR if state.queue_select != QUEUE => NO_VECTOR.into(),
            _ if state.queue_select != QUEUE => 0,
            common::QUEUE_SIZE => state.areas.size.into(),
            common::QUEUE_VECTOR => state.queue_vector.into(),
            common::QUEUE_ENABLE => state.queue_enabled.into(),
            common::QUEUE_NOTIFY_OFFSET => QUEUE.into(),
            _ => {
                // A copy, because there is one function for reading and writing.
                let mut areas = state.areas;
                let register = address_register(&mut areas, offset);
                register.map_or(0, |(address, which)| half(*address, which).into())
            }
        }
    }

    fn write_common(&mut self, bus: &mut Bus, offset: u64, value: u64) {
        let state = &mut self.state;
        match offset {
            common::DEVICE_FEATURE_SELECT => state.device_feature_select = low32(value),
            common::DRIVER_FEATURE_SELECT => state.driver_feature_select = low32(value),
            common::DRIVER_FEATURE => self.accept_features(low32(value)),
            common::CONFIG_VECTOR => state.config_vector = vector(value),
            common::STATUS => self.set_status(bus, value),
            common::QUEUE_SELECT => state.queue_select = low16(value),
            _ if state.queue_select != QUEUE => {}
            common::QUEUE_VECTOR => state.queue_vector = vector(value),
            // Section 4.1.4.3.2: an enabled queue stays as it is.
            _ if state.queue_enabled => {}
            common::QUEUE_SIZE => state.areas.size = low16(value),
            common::QUEUE_ENABLE if value == 1 => self.enable_queue(bus),
            _ => {
                if let Some((address, which)) = address_register(&mut state.areas, offset) {
                    set_half(address, which, low32(value));
                }
            }
        }
    }

    fn read_legacy(&mut self, bus: &mut Bus, offset: u64) -> u64 {
        let selected = self.state.queue_select == QUEUE;
        match offset {
            legacy::DEVICE_FEATURE => half(self.offered.bits(), 0).into(),
            legacy::DRIVER_FEATURE => half(self.state.driver_features, 0).into(),
            legacy::QUEUE_PAGE if selected => self.state.areas.descriptors / legacy::PAGE_SIZE,
            legacy::QUEUE_SIZE if selected => MAX_QUEUE_SIZE.into(),
            legacy::QUEUE_SELECT => self.state.queue_select.into(),
            // Section 4.1.4.10: legacy drivers do not wait for a reset's end.
            legacy::STATUS => self.state.status.bits().into(),
            legacy::ISR => self.take_isr(bus).into(),
            legacy::CONFIG_VECTOR if bus.msix_enabled() => self.state.config_vector.into(),
            legacy::QUEUE_VECTOR if bus.msix_enabled() && selected => {
                self.state.queue_vector.into()
            }
            _ => 0,
        }
    }

    fn write_legacy(&mut self, bus: &mut Bus, offset: u64, value: u64) {
        let selected = self.state.queue_select == QUEUE;
        match offset {
            legacy::DRIVER_FEATURE if !self.state.status.contains(Status::FEATURES_OK) => {
                // There are no others in this interface.
                self.state.driver_features = u64::from(low32(value)) & self.offered.bits();
            }
            legacy::QUEUE_PAGE if selected => self.place_legacy_queue(bus, low32(value)),
            legacy::QUEUE_SELECT => self.state.queue_select = low16(value),
            legacy::QUEUE_NOTIFY => {
                // Section 3.1.2: older drivers use the device before they are ready.
                self.start_queue(bus);
                self.notify(bus, low16(value));
            }
            legacy::STATUS => self.set_legacy_status(bus, value),
            legacy::CONFIG_VECTOR if bus.msix_enabled() => {
                self.state.config_vector = vector(value);
            }
            legacy::QUEUE_VECTOR if bus.msix_enabled() && selected => {
                self.state.queue_vector = vector(value);
            }
            _ => {}
        }
    }

    fn accept_features(&mut self, bits: u32) {
        let state = &mut self.state;
        if state.status.contains(Status::FEATURES_OK) {
            return;
        }
        match state.driver_feature_select {
            select @ (0 | 1) => set_half(&mut state.driver_features, select, bits),
            _ => state.accepts_unknown = bits != 0,
        }
    }

    /// Whether the accepted features make a device of the modern interface.
    fn features_acceptable(&self) -> bool {
        let accepted = Features::from_bits(self.state.driver_features);
        !self.state.accepts_unknown
            && accepted.is_some_and(|accepted| {
                self.offered.contains(accepted) && accepted.contains(Features::VERSION_1)
            })
    }

    /// The offered features that the driver has accepted so far.
    fn accepted(&self) -> Features {
        Features::from_bits_truncate(self.state.driver_features) & self.offered
    }

    /// The features that a queue starts with. Without FEATURES_OK that is by the legacy interface,
    /// and what the driver has written by the other one was never judged.
    fn agreed(&self) -> Features {
        if self.state.status.contains(Status::FEATURES_OK) {
            self.accepted()
        } else {
            self.accepted() & Features::LEGACY
        }
    }

    /// The status as a modern driver reads it.
    fn status(&mut self, bus: &Bus) -> Status {
        self.resetting = self.resetting.filter(|_| bus.dma_outstanding());
        self.resetting.unwrap_or(self.state.status)
    }

    fn set_status(&mut self, bus: &mut Bus, value: u64) {
        let mut added = self.added_status(value);
        let status = self.state.status;
        if !status.contains(Status::FEATURES_OK) && !self.features_acceptable() {
            added.remove(Status::FEATURES_OK);
        }
        if !(status | added).contains(Status::FEATURES_OK) {
            added.remove(Status::DRIVER_OK);
        }
        self.change_status(bus, value, added);
    }

    /// The legacy interface has no FEATURES_OK.
    fn set_legacy_status(&mut self, bus: &mut Bus, value: u64) {
        let added = self.added_status(value).difference(Status::FEATURES_OK);
        self.change_status(bus, value, added);
    }

    /// The status bits that a driver adds by writing a value.
    fn added_status(&self, value: u64) -> Status {
        let written = Status::from_bits_truncate(value.to_le_bytes()[0]);
        // A driver that did not wait for the reset's end has read the old status, and writes it
        // back with a bit more.
        let first_steps = Status::ACKNOWLEDGE | Status::DRIVER;
        let stale = self.resetting.map_or(Status::empty(), |old| old.difference(first_steps));
        written.difference(stale | Status::DEVICE_NEEDS_RESET)
    }

    /// Only a reset takes a bit back, and 0 is a reset.
    fn change_status(&mut self, bus: &mut Bus, value: u64, added: Status) {
        if value & 0xff == 0 {
            return self.reset_by_driver(bus);
        }
        self.resetting = None;
        self.state.status |= added;
        if self.state.status.contains(Status::DRIVER_OK) {
            self.start_queue(bus);
        }
    }

    /// The driver resets the device. It reads a status of 0 when nothing of what was under way can
    /// touch its memory any more (section 4.1.4.3.1).
    fn reset_by_driver(&mut self, bus: &mut Bus) {
        let before = self.resetting.unwrap_or(self.state.status);
        self.reset(bus);
        if bus.dma_outstanding() && !before.is_empty() {
            self.resetting = Some(before);
        }
    }

    fn place_legacy_queue(&mut self, bus: &mut Bus, page: u32) {
        self.queue = None;
        bus.cancel_dma();
        self.state.queue_enabled = page != 0;
        let address = u64::from(page) * legacy::PAGE_SIZE;
        self.state.areas = Areas::legacy(address, legacy::PAGE_SIZE);
        if self.state.status.contains(Status::DRIVER_OK) {
            self.start_queue(bus);
        }
    }

    fn enable_queue(&mut self, bus: &mut Bus) {
        if let Err(fault) = self.state.areas.check(self.accepted()) {
            return self.fail(bus, &fault);
        }
        self.state.queue_enabled = true;
        if self.state.status.contains(Status::DRIVER_OK) {
            self.start_queue(bus);
        }
    }

    /// Starts the queue if it is enabled and does not run yet.
    fn start_queue(&mut self, bus: &mut Bus) {
        let State { status, areas, queue_enabled, .. } = self.state;
        let stopped = status.contains(Status::DEVICE_NEEDS_RESET);
        if self.queue.is_some() || stopped || !queue_enabled {
            return;
        }
        // They may have changed since the queue was enabled.
        let features = self.agreed();
        if let Err(fault) = areas.check(features) {
            return self.fail(bus, &fault);
        }
        log::info!("virtio: the driver is ready; queue of {}, {features:?}", areas.size);
        let queue = self.queue.insert(queue::of_layout(areas, features));
        let started = queue.start(bus);
        self.check(bus, started);
    }

    fn notify(&mut self, bus: &mut Bus, queue: u16) {
        if queue != QUEUE {
            return;
        }
        let notified = self.queue.as_mut().map_or(Ok(()), |queue| queue.notify(bus));
        self.check(bus, notified);
    }
}

/// The address that a register of the common configuration holds a half of, and which half.
fn address_register(areas: &mut Areas, offset: u64) -> Option<(&mut u64, u32)> {
    let address = match offset & !7 {
        common::QUEUE_DESCRIPTORS => &mut areas.descriptors,
        common::QUEUE_DRIVER => &mut areas.driver,
        common::QUEUE_DEVICE => &mut areas.device,
        _ => return None,
    };
    match offset & 7 {
        0 => Some((address, 0)),
        4 => Some((address, 1)),
        _ => None,
    }
}

/// The low (0) or high (1) half; there are no others.
fn half(value: u64, which: u32) -> u32 {
    match which {
        0 => low32(value),
        1 => low32(value >> 32),
        _ => 0,
    }
}

fn set_half(value: &mut u64, which: u32, half: u32) {
    let shift = 32 * which;
    *value = *value & !(0xffff_ffff << shift) | u64::from(half) << shift;
}

fn low32(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn low16(value: u64) -> u16 {
    (value & 0xffff) as u16
}

/// The vector that a driver asks for; one that the device does not have is none.
fn vector(value: u64) -> u16 {
    let vector = low16(value);
    if vector < VECTORS { vector } else { NO_VECTOR }
}
