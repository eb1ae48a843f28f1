//! The virtqueue as rust-vmm's `vhost-user-backend` has it, but for one thing: that one ignores a size
//! that is no power of two and serves the queue with the size before. Here such a queue does not
//! start, and the VMM is told when it names the ring's addresses.
//!
//! The rings themselves stay rust-vmm's: its backend moves a queue's positions by messages of the VMM
//! (SET_VRING_BASE, GET_VRING_BASE) and translates its addresses, which the virtqueue of a vfio-user
//! device, whose task alone knows its positions, has no use for. Descriptor chains are read by the same
//! code.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vhost_user_backend::{VringMutex, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::Error;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// Guest memory that is exchanged as a whole when the VMM changes it.
pub type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// A queue and its state, shared by rust-vmm's threads.
#[derive(Clone)]
pub struct Vring {
    queue: VringMutex<Memory>,
    has_bad_size: Arc<AtomicBool>,
}

impl<'a> VringStateGuard<'a, Memory> for Vring {
    type G = <VringMutex<Memory> as VringStateGuard<'a, Memory>>::G;
}

impl<'a> VringStateMutGuard<'a, Memory> for Vring {
    type G = <VringMutex<Memory> as VringStateMutGuard<'a, Memory>>::G;
}

impl Vring {
    fn has_bad_size(&self) -> bool {
        self.has_bad_size.load(Ordering::Acquire)
    }
}

impl VringT<Memory> for Vring {
    fn new(memory: Memory, max_queue_size: u16) -> Result<Self, Error> {
        let queue = VringMutex::new(memory, max_queue_size)?;
        Ok(Vring { queue, has_bad_size: Arc::default() })
    }

    fn set_queue_size(&self, size: u16) {
        self.has_bad_size.store(!size.is_power_of_two(), Ordering::Release);
        self.queue.set_queue_size(size);
    }

    fn set_queue_info(&self, table: u64, available: u64, used: u64) -> Result<(), Error> {
        if self.has_bad_size() {
            return Err(Error::InvalidSize);
        }
        self.queue.set_queue_info(table, available, used)
    }

    fn set_queue_ready(&self, ready: bool) {
        self.queue.set_queue_ready(ready && !self.has_bad_size());
    }

    // All else is the same.

    fn get_ref(&self) -> <Self as VringStateGuard<'_, Memory>>::G {
        self.queue.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, Memory>>::G {
        self.queue.get_mut()
    }

    fn add_used(&self, head: u16, length: u32) -> Result<(), Error> {
        self.queue.add_used(head, length)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.queue.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, Error> {
        self.queue.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), Error> {
        self.queue.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, Error> {
        self.queue.needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.queue.set_enabled(enabled);
    }

    fn queue_next_avail(&self) -> u16 {
        self.queue.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.queue.set_queue_next_avail(base);
    }

    fn set_queue_next_used(&self, index: u16) {
        self.queue.set_queue_next_used(index);
    }

    fn queue_used_idx(&self) -> Result<u16, Error> {
        self.queue.queue_used_idx()
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.queue.set_queue_event_idx(enabled);
    }

    fn set_kick(&self, file: Option<File>) {
        self.queue.set_kick(file);
    }

    fn read_kick(&self) -> io::Result<bool> {
        self.queue.read_kick()
    }

    fn set_call(&self, file: Option<File>) {
        self.queue.set_call(file);
    }

    fn set_err(&self, file: Option<File>) {
        self.queue.set_err(file);
    }
}
