//! The device as rust-vmm's `vhost-user-backend` wants it: what it can do, and what each event of
//! its event loop means.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vfio_user_device::Waker;
use vfio_user_device::rust_vmm::WatchedMemory;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackendMut, VringState, VringT};
use virtio_bindings::virtio_config::{VIRTIO_F_NOTIFY_ON_EMPTY, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use super::requests::{Again, Served, serve};
use super::timer::Timer;
use super::vring::{Memory, Vring};
use entropy::service::Entropy;

/// The only queue, `requestq`.
const QUEUES: usize = 1;
/// The most descriptors that it can have, as in vhost-device-rng.
const MAX_QUEUE_SIZE: usize = 1024;

/// How often the queue is looked at before other events have their turn: a driver that makes new
/// requests all the time must not keep the thread.
const LOOKS: usize = 4;

/// Features of virtio that the guest's driver may take. There is no packed queue in rust-vmm's
/// crate.
const FEATURES: u64 = (1 << VIRTIO_F_VERSION_1)
    | (1 << VIRTIO_F_NOTIFY_ON_EMPTY)
    | (1 << VIRTIO_RING_F_INDIRECT_DESC)
    | (1 << VIRTIO_RING_F_EVENT_IDX);

/// Events of the event loop. 0 is the queue's kick, 1 is the loop's own.
const KICKED: u16 = 0;
const WOKEN: u16 = 2;
const TIMER: u16 = 3;
const STOP: u16 = 4;

/// The device for one VMM.
pub struct Backend {
    entropy: Arc<Mutex<Entropy>>,
    waker: Waker,
    timer: Timer,
    stop: Waker,
    memory: Option<WatchedMemory>,
    /// What the driver took.
    features: u64,
    /// Whether the ring is corrupt, or in memory that was truncated.
    disabled: bool,
    /// The guest's name, for the log.
    name: String,
}

impl Backend {
    /// A device for a VMM that connects. Its event loop ends when `stop` is used.
    ///
    /// # Errors
    /// Descriptors run out.
    pub fn new(entropy: Arc<Mutex<Entropy>>, stop: Waker, name: &str) -> io::Result<Self> {
        let waker = lock(&entropy).waker().clone();
        Ok(Backend {
            entropy,
            waker,
            timer: Timer::new()?,
            stop,
            memory: None,
            features: 0,
            disabled: false,
            name: name.to_owned(),
        })
    }

    /// What the event loop has to wait for beside the queue: descriptors, and what their event is
    /// called.
    pub fn events(&self) -> [(RawFd, u64); 3] {
        [
            (self.waker.as_fd().as_raw_fd(), u64::from(WOKEN)),
            (self.timer.as_fd().as_raw_fd(), u64::from(TIMER)),
            (self.stop.as_fd().as_raw_fd(), u64::from(STOP)),
        ]
    }

    /// Answers what can be answered, and sees to it that the rest is looked at again.
    fn serve(&mut self, vring: &Vring) {
        let mut vring = vring.get_mut();
        for _ in 0..LOOKS {
            if self.disabled || !vring.is_enabled() || !vring.get_queue().ready() {
                return;
            }
            if !self.look(&mut vring) {
                return;
            }
        }
        self.timer.set(Duration::ZERO);
    }

    /// Looks at the queue once. Returns whether there were new requests at the end.
    fn look(&mut self, vring: &mut VringState<Memory>) -> bool {
        let Some(memory) = &self.memory else { return false };
        let mut entropy = lock(&self.entropy);
        let queue = vring.get_queue_mut();
        let Served { answered, again } = serve(queue, memory.memory(), &mut entropy, &self.name);
        drop(entropy);
        if memory.truncated() {
            log::warn!("{}: guest memory was truncated; the queue is disabled", self.name);
            self.disabled = true;
        }
        let emptied = again == Again::WhenKicked && self.took(VIRTIO_F_NOTIFY_ON_EMPTY);
        let wanted = queue.needs_notification(memory.memory()).unwrap_or(true);
        if answered > 0 && (wanted || emptied) {
            // It fails when the counter is full: then there is a notification already.
            let _ = vring.signal_used_queue();
        }
        match again {
            // With EVENT_IDX the driver kicks only for what comes after this. It was called before,
            // so as not to wait for it.
            Again::WhenKicked => {
                return vring.get_queue_mut().enable_notification(memory.memory()).unwrap_or(false);
            }
            Again::WhenWoken => {}
            Again::After(time) => self.timer.set(time),
            Again::Never => self.disabled = true,
        }
        false
    }

    fn took(&self, feature: u32) -> bool {
        self.features & (1 << feature) != 0
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        lock(&self.entropy).forget_request();
    }
}

/// A session that panicked has harmed no other's bytes.
fn lock(entropy: &Mutex<Entropy>) -> MutexGuard<'_, Entropy> {
    entropy.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VhostUserBackendMut for Backend {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        MAX_QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        FEATURES | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&mut self, features: u64) {
        self.features = features;
    }

    /// REPLY_ACK is offered by the crate itself. There is no CONFIG: a virtio-rng has no
    /// configuration. Memory slots are there for guests with more DIMMs than the eight regions that
    /// fit into one message.
    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    /// The queue itself knows.
    fn set_event_idx(&mut self, _enabled: bool) {}

    fn update_memory(&mut self, memory: Memory) -> io::Result<()> {
        self.memory = Some(WatchedMemory::new(GuestMemoryMmap::clone(&memory.memory())));
        Ok(())
    }

    /// The queue stops, and may be set up again. A request that waits is still in it.
    fn stop_vring(&mut self, _queue: u32) -> io::Result<()> {
        self.disabled = false;
        lock(&self.entropy).forget_request();
        Ok(())
    }

    /// An error ends the event loop.
    fn handle_event(
        &mut self,
        event: u16,
        _events: EventSet,
        vrings: &[Self::Vring],
        _thread: usize,
    ) -> io::Result<()> {
        match event {
            KICKED => {}
            WOKEN => drop(rustix::io::read(&self.waker, &mut [0; 8])),
            TIMER => self.timer.take(),
            // Left unread, so that it stays so.
            STOP => return Err(io::Error::other("the connection has ended")),
            _ => return Ok(()),
        }
        if let Some(vring) = vrings.first() {
            self.serve(vring);
        }
        Ok(())
    }
}
