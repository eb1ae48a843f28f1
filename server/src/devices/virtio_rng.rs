//! `virtio-rng`, the entropy device of virtio 1.2, section 5.4.
//!
//! The driver puts empty buffers into the only queue; the device fills them with random bytes. It
//! has no configuration and no features of its own. What makes the bytes, and how many there are
//! in which time, is up to the [entropy service](entropy::service).

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use vfio_user_device::{Access, Bus, Device, DeviceConfig, DeviceState, StateError, Waker};

use super::{DeviceContext, MakeDevice, MakeError};
use entropy::health::HealthMode;
use entropy::limiter::Period;
use entropy::service::{Completions, Entropy, EntropyState, TakeOutcome};
use entropy::source::Specification;
use virtio_device::{
    DescriptorChain, DeviceType, Fault, Interface, Transport, TransportState, VirtioDevice,
    serve_queue,
};

mod options;

pub use options::{Vectors, VirtioRngOptions};

/// The only timer: when the limit allows more bytes.
const TIMER: u32 = 0;

impl MakeDevice for VirtioRngOptions {
    const NAME: &'static str = "virtio-rng";
    const ABOUT: &'static str =
        "the standard entropy device, for the drivers that every system has";

    fn make(&self, context: &DeviceContext) -> Result<Box<dyn Device>, MakeError> {
        let mut device = VirtioRng::new(entropy(self, context)?, self.virtio);
        device.transport.set_guest_name(&context.guest);
        if self.packed {
            device.offer_packed_queue();
        }
        if self.vectors == Vectors::Zero {
            device.leave_msix_out();
        }
        Ok(Box::new(device))
    }

    /// Source and limit change without a new device.
    fn fixed(&self) -> Self {
        VirtioRngOptions {
            source: Specification::default(),
            filename: None,
            file_loop: false,
            health: HealthMode::Off,
            max_bytes: None,
            period: Period::default(),
            ..self.clone()
        }
    }
}

/// The entropy service of such a device, for either transport.
///
/// # Errors
/// The source cannot be opened.
pub fn entropy(options: &VirtioRngOptions, context: &DeviceContext) -> Result<Entropy, MakeError> {
    let meter = Arc::clone(&context.meter);
    if let Some(control) = context.control.get() {
        // Source and limit may have changed since the first device was made.
        return Ok(Entropy::of(control).counted_by(meter));
    }
    let waker = Waker::new().map_err(MakeError::Waker)?;
    let source = context.source.open(waker.clone())?;
    let entropy = Entropy::new(source, waker, options.limit());
    context.control.get_or_init(|| entropy.control());
    Ok(entropy.counted_by(meter))
}

/// The device as a value.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    transport: TransportState,
    entropy: EntropyState,
    /// The same if the chain that is about to be completed is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed: Option<EntropyState>,
}

/// The device as a value for another host: without bytes that a guest may get, and without what the
/// limit has counted.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Migrated {
    transport: TransportState,
    completions: Completions,
}

/// The device.
pub struct VirtioRng {
    transport: Transport,
    entropy: Entropy,
    /// Before the bytes were taken that a chain is about to be completed with, if that is kept.
    before: Option<EntropyState>,
    /// After that, in a process that takes another one's place.
    after: Option<EntropyState>,
}

impl VirtioRng {
    /// A device that gives what this service has.
    pub fn new(entropy: Entropy, interface: Interface) -> Self {
        let transport = Transport::new(DeviceType::Entropy, interface, serve_queue::<Self>);
        VirtioRng { transport, entropy, before: None, after: None }
    }

    /// Offers a packed queue, too.
    pub fn offer_packed_queue(&mut self) {
        self.transport.offer_packed_queue();
    }

    /// Leaves MSI-X out.
    pub fn leave_msix_out(&mut self) {
        self.transport.leave_msix_out();
    }

    /// Stops waiting for bytes when the request that they were for is gone.
    fn forget_lost_request(&self, bus: &mut Bus) {
        if !self.transport.is_pending() {
            bus.cancel_timer(TIMER);
            bus.stop_waiting();
            self.entropy.forget_request();
        }
    }
}

impl Device for VirtioRng {
    fn config(&self) -> DeviceConfig {
        self.transport.config()
    }

    fn read(&mut self, bus: &mut Bus, access: Access) -> u64 {
        self.transport.read(bus, access)
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        self.transport.write(bus, access, value);
        self.forget_lost_request(bus);
    }

    fn on_timer(&mut self, bus: &mut Bus, _id: u32) {
        bus.wake_tasks();
    }

    fn on_wake(&mut self, bus: &mut Bus) {
        bus.wake_tasks();
    }

    fn reset(&mut self, bus: &mut Bus) {
        self.transport.reset(bus);
        self.entropy.forget_request();
    }

    fn on_disconnect(&mut self, bus: &mut Bus) {
        self.transport.on_disconnect(bus);
        // A reset does this by itself.
        self.forget_lost_request(bus);
    }

    fn save(&self) -> Result<DeviceState, StateError> {
        let now = self.entropy.save(Instant::now());
        let (entropy, completed) = match (&self.after, &self.before) {
            (Some(after), _) => (now, Some(after.clone())),
            (None, Some(before)) if self.transport.is_completing() => (before.clone(), Some(now)),
            (None, _) => (now, None),
        };
        DeviceState::of(&Saved { transport: self.transport.save(), entropy, completed })
    }

    fn restore(&mut self, bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        let Saved { transport, entropy, completed } = state.get()?;
        self.after = completed;
        self.entropy.restore(entropy, Instant::now());
        self.transport.restore(bus, &transport)
    }

    fn save_to_migrate(&self) -> Result<DeviceState, StateError> {
        DeviceState::of(&Migrated {
            transport: self.transport.save(),
            completions: self.entropy.completions(),
        })
    }

    fn restore_migrated(&mut self, bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        let Migrated { transport, completions } = state.get()?;
        let wrong = || StateError::Content("no driver was given such completions".into());
        self.entropy.set_completions(completions.checked().ok_or_else(wrong)?);
        self.transport.restore(bus, &transport)
    }
}

impl VirtioDevice for VirtioRng {
    fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn resume(&mut self, completed: bool) {
        if let Some(after) = self.after.take().filter(|_| completed) {
            self.entropy.restore(after, Instant::now());
        }
    }

    fn fill(&mut self, bus: &mut Bus, chain: &DescriptorChain) -> Result<Option<Vec<u8>>, Fault> {
        if chain.buffers.iter().any(|buffer| !buffer.writable) {
            return Err(Fault::ReadableBuffer);
        }
        let length = chain.writable_len();
        if length == 0 {
            return Ok(Some(Vec::new()));
        }
        if bus.is_kept() {
            self.before = Some(self.entropy.save(Instant::now()));
        }
        match self.entropy.take(Instant::now, length) {
            TakeOutcome::Bytes(bytes) => return Ok(Some(bytes)),
            TakeOutcome::Pending => bus.wait_for(self.entropy.waker()),
            TakeOutcome::RetryAfter(time) => {
                bus.set_timer(TIMER, time);
                // The limit can change meanwhile.
                bus.wait_for(self.entropy.waker());
            }
        }
        Ok(None)
    }

    fn reuse(&mut self, buffer: Vec<u8>) {
        self.entropy.reuse(buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use entropy::service::TakeOutcome;
    use entropy::source::{SourceFactory, Specification};

    use super::*;

    /// The beginning of the stream of seed 0.
    const STREAM: [u8; 8] = [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90];

    #[test]
    fn a_device_in_the_place_of_another_one_goes_on_with_its_source_and_limit() {
        let source: Arc<dyn SourceFactory> = Arc::new(Specification::Chacha20 { seed: 0 });
        let (meter, control) = (Arc::default(), Arc::default());
        let context = DeviceContext { guest: "test".to_owned(), source, meter, control };
        let options = VirtioRngOptions {
            max_bytes: Some("4".parse().unwrap()),
            period: "1000000".parse().unwrap(),
            ..VirtioRngOptions::default()
        };
        let made = || entropy(&options, &context).unwrap();
        let now = Instant::now();
        assert_eq!(made().take(|| now, 3), TakeOutcome::Bytes(STREAM[..3].to_vec()));
        assert_eq!(made().take(|| now, 3), TakeOutcome::Bytes(STREAM[3..4].to_vec()));
        context.control.get().unwrap().set_limit(None);
        assert_eq!(made().take(|| now, 4), TakeOutcome::Bytes(STREAM[4..].to_vec()));
    }
}
