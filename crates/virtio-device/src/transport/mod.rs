//! The registers of a virtio device on PCI: status, features, one queue, interrupts.
//!
//! Both interfaces, modern and legacy, show one state. What a driver wrote lives in `State` and is
//! gone with a reset; what remains is what the device offers.

mod legacy;
mod modern;
mod saved;
mod status;

use vfio_user_device::{Access, Bus, DeviceConfig};

use super::fault::Fault;
use super::flags::{Features, Status};
use super::layout::{self, DeviceType, Interface, LEGACY_BAR, MODERN_BAR, VECTORS};
use super::queue::{MAX_QUEUE_SIZE, QueuePosition, RingAddresses, Virtqueue};

pub use saved::TransportState;

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
    rings: RingAddresses,
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
            rings: RingAddresses { size: MAX_QUEUE_SIZE, ..RingAddresses::default() },
            isr: 0,
        }
    }
}

/// What the registers and the task that serves the queue tell each other.
#[derive(Clone, Copy, Debug, Default)]
struct QueueState {
    /// It is enabled, and the driver is ready.
    running: bool,
    /// The driver has notified since the ring was looked at.
    notified: bool,
    /// A chain waits for the device's bytes.
    pending: bool,
    position: QueuePosition,
}

/// Starts the task that serves a queue.
type ServeQueue = fn(&mut Bus, Virtqueue);

/// A virtio device's side of the PCI bus.
#[derive(Debug)]
pub struct Transport {
    device: DeviceType,
    interface: Interface,
    offered: Features,
    msix: bool,
    /// What stands before its lines in the log.
    log_prefix: String,
    state: State,
    queue: QueueState,
    serve_queue: ServeQueue,
    /// The status before a reset that waits for the last access to guest memory.
    resetting: Option<Status>,
}

impl Transport {
    /// The transport of a device that offers [`Features::OFFERED`]. `serve_queue` starts the task that
    /// serves the queue: [`serve_queue`](crate::serve_queue) of the device's type.
    pub fn new(device: DeviceType, interface: Interface, serve_queue: ServeQueue) -> Self {
        Transport {
            device,
            interface,
            offered: Features::OFFERED,
            msix: true,
            log_prefix: "virtio".to_owned(),
            state: State::default(),
            queue: QueueState::default(),
            serve_queue,
            resetting: None,
        }
    }

    /// Names the guest in the log.
    pub fn set_guest_name(&mut self, name: &str) {
        self.log_prefix = format!("{name}: virtio");
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
    pub fn config(&self) -> DeviceConfig {
        layout::device_config(self.device, self.interface, self.msix)
    }

    /// Whether a chain waits for the device's bytes.
    pub fn is_pending(&self) -> bool {
        self.queue.pending
    }

    /// Whether a chain is about to be completed, so that guest memory alone says whether it is.
    pub fn is_completing(&self) -> bool {
        self.queue.running && self.queue.position.is_completing()
    }

    pub(super) fn set_pending(&mut self, pending: bool) {
        self.queue.pending = pending;
    }

    pub(super) fn set_position(&mut self, position: QueuePosition) {
        self.queue.position = position;
    }

    /// Takes the driver's notification. Returns whether there was one.
    pub(super) fn take_notification(&mut self) -> bool {
        std::mem::take(&mut self.queue.notified)
    }

    /// Back to power-on: nothing of the driver is left.
    pub fn reset(&mut self, bus: &mut Bus) {
        self.stop_queue(bus);
        bus.clear_interrupts();
        self.state = State::default();
        self.resetting = None;
    }

    /// The client has gone, and the guest with it.
    pub fn on_disconnect(&mut self, bus: &mut Bus) {
        self.reset(bus);
    }

    /// The driver broke a rule, or its memory is gone: the device stops, and says so.
    pub fn fail(&mut self, bus: &mut Bus, fault: &Fault) {
        log::warn!("{}: the device has to be reset: {fault}", self.log_prefix);
        self.stop_queue(bus);
        self.state.status |= Status::DEVICE_NEEDS_RESET;
        if self.state.status.contains(Status::DRIVER_OK) {
            self.interrupt(bus, Cause::Configuration);
        }
    }

    fn stop_queue(&mut self, bus: &mut Bus) {
        bus.cancel_tasks();
        self.queue = QueueState::default();
    }

    /// Tells the driver of a completion.
    pub(super) fn interrupt_for_queue(&mut self, bus: &mut Bus) {
        self.interrupt(bus, Cause::Queue);
    }

    fn interrupt(&mut self, bus: &mut Bus, cause: Cause) {
        let msix = bus.msix_enabled();
        // Section 4.1.4.5.1: with MSI-X the bit for completions is not used, the other one is.
        if !msix || cause == Cause::Configuration {
            self.state.isr |= cause as u8;
        }
        let vector = match cause {
            Cause::Queue => self.state.queue_vector,
            Cause::Configuration => self.state.config_vector,
        };
        if !msix {
            bus.set_intx(true);
        } else if vector != NO_VECTOR {
            bus.signal_vector(vector);
        }
    }

    /// Reading the ISR status takes the interrupt back.
    fn take_isr(&mut self, bus: &mut Bus) -> u8 {
        bus.set_intx(false);
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

    fn enable_queue(&mut self, bus: &mut Bus) {
        if let Err(fault) = self.state.rings.check(self.accepted()) {
            return self.fail(bus, &fault);
        }
        self.state.queue_enabled = true;
        if self.state.status.contains(Status::DRIVER_OK) {
            self.start_queue(bus);
        }
    }

    /// Starts the queue if it is enabled and does not run yet.
    fn start_queue(&mut self, bus: &mut Bus) {
        let State { status, rings, queue_enabled, .. } = self.state;
        let stopped = status.contains(Status::DEVICE_NEEDS_RESET);
        if self.queue.running || stopped || !queue_enabled {
            return;
        }
        // They may have changed since the queue was enabled.
        let features = self.agreed();
        if let Err(fault) = rings.check(features) {
            return self.fail(bus, &fault);
        }
        log::info!(
            "{}: the driver is ready; queue of {}, {features:?}",
            self.log_prefix,
            rings.size
        );
        self.queue = QueueState { running: true, ..QueueState::default() };
        (self.serve_queue)(bus, Virtqueue::new(rings, features));
    }

    fn notify(&mut self, bus: &mut Bus, queue: u16) {
        if queue == QUEUE && self.queue.running {
            self.queue.notified = true;
            bus.wake_tasks();
        }
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
