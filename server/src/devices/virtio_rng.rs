//! `virtio-rng`, the entropy device of virtio 1.2, section 5.4.
//!
//! The driver puts empty buffers into the only queue; the device fills them with random bytes. It
//! has no configuration and no features of its own. What makes the bytes, and how many there are
//! in which time, is the [entropy service's](crate::entropy) affair.

use std::sync::Arc;
use std::time::Instant;

use vfio_user_kit::{Access, Bus, Description, Device, DmaDone, Waker};

use super::{Kind, MakeError, Settings, Surroundings};
use crate::entropy::{Entropy, Supply};
use crate::virtio::{DeviceType, Fault, Interface, Transport};

/// The only timer: when the limit allows more bytes.
const TIMER: u32 = 0;

/// How it is asked for.
pub const KIND: Kind = Kind {
    name: "virtio-rng",
    about: "the standard entropy device, for the drivers that every system has",
    options: &[
        "virtio",
        "packed",
        "vectors",
        "source",
        "filename",
        "file_loop",
        "max_bytes",
        "period",
    ],
    make: |settings, surroundings| {
        let mut device = VirtioRng::new(entropy(settings, surroundings)?, settings.interface);
        if settings.packed {
            device.offer_packed_queue();
        }
        if !settings.msix {
            device.leave_msix_out();
        }
        Ok(Box::new(device))
    },
};

/// The bytes that such a device gives, whoever it is shown by.
///
/// # Errors
/// The source cannot be opened.
pub fn entropy(settings: &Settings, surroundings: &Surroundings) -> Result<Entropy, MakeError> {
    let meter = Arc::clone(&surroundings.meter);
    if let Some(control) = surroundings.control.get() {
        // Source and limit may have changed since the first device was made.
        return Ok(Entropy::of(control).counted_by(meter));
    }
    let waker = Waker::new().map_err(MakeError::Waker)?;
    let source = surroundings.source.open(waker.clone())?;
    let entropy = Entropy::new(source, waker, settings.limit);
    surroundings.control.get_or_init(|| entropy.control());
    Ok(entropy.counted_by(meter))
}

/// The device.
pub struct VirtioRng {
    transport: Transport,
    entropy: Entropy,
}

impl VirtioRng {
    /// A device that gives what this service has.
    pub fn new(entropy: Entropy, interface: Interface) -> Self {
        VirtioRng { transport: Transport::new(DeviceType::Entropy, interface), entropy }
    }

    /// Offers a packed queue, too.
    pub fn offer_packed_queue(&mut self) {
        self.transport.offer_packed_queue();
    }

    /// Leaves MSI-X out.
    pub fn leave_msix_out(&mut self) {
        self.transport.leave_msix_out();
    }

    /// Answers the request that waits, if there is one and there are bytes for it.
    fn serve(&mut self, bus: &mut Bus) {
        let Some(request) = self.transport.request() else { return };
        if request.buffers.iter().any(|buffer| !buffer.writable) {
            return self.transport.fail(bus, &Fault::ReadableBuffer);
        }
        let room = request.room();
        if room == 0 {
            return self.transport.answer(bus, Vec::new());
        }
        match self.entropy.take(Instant::now, room) {
            Supply::Bytes(bytes) => self.transport.answer(bus, bytes),
            Supply::WhenWoken => bus.wait_for(self.entropy.waker()),
            Supply::After(time) => {
                bus.set_timer(TIMER, time);
                // The limit can change meanwhile.
                bus.wait_for(self.entropy.waker());
            }
        }
    }

    /// Stops waiting for bytes when the request that they were for is gone.
    fn forget_lost_request(&self, bus: &mut Bus) {
        if self.transport.request().is_none() {
            bus.cancel_timer(TIMER);
            bus.stop_waiting();
            self.entropy.forget_request();
        }
    }
}

impl Device for VirtioRng {
    fn describe(&self) -> Description {
        self.transport.describe()
    }

    fn read(&mut self, bus: &mut Bus, access: Access) -> u64 {
        self.transport.read(bus, access)
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        self.transport.write(bus, access, value);
        self.forget_lost_request(bus);
    }

    fn dma_done(&mut self, bus: &mut Bus, done: DmaDone) {
        if let Some(written) = self.transport.dma_done(bus, done) {
            self.entropy.reuse(written);
        }
        self.serve(bus);
    }

    fn timer(&mut self, bus: &mut Bus, _id: u32) {
        self.serve(bus);
    }

    fn woken(&mut self, bus: &mut Bus) {
        self.serve(bus);
    }

    fn reset(&mut self, bus: &mut Bus) {
        self.transport.reset(bus);
        self.entropy.forget_request();
    }

    fn disconnected(&mut self, bus: &mut Bus) {
        self.transport.disconnected(bus);
        // A reset does this by itself.
        self.forget_lost_request(bus);
    }
}
