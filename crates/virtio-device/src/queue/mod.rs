//! The virtqueue: descriptor chains come from the driver and are completed, one at a time.
//!
//! There are two layouts in guest memory, of which driver and device choose one with the features:
//! [`SplitRing`] and [`PackedRing`]. Both are read the same way. The ring and its descriptor table
//! are copied together, so that by message they take one wait; a chain is followed in the copy. Bytes,
//! completion, and the index or flags that show it to the driver are written together, in this order.
//! The available ring is read again with them: it says whether the driver wants an interrupt, and
//! whether there is a next chain.
//!
//! A message promises no order within itself. So an index is read before what it shows, and written
//! behind it, by a message of its own; all messages of one access are sent together.

mod addresses;
mod packed;
mod position;
mod split;

use std::mem;

use vfio_user_device::{GuestMemory, Segment};

pub use addresses::{MAX_QUEUE_SIZE, RingAddresses};
use packed::PackedRing;
pub use position::QueuePosition;
use split::SplitRing;

use super::chain::{ChainReader, DescriptorChain};
use super::fault::Fault;
use super::flags::Features;

/// A queue that its driver has enabled.
#[derive(Debug)]
pub struct Virtqueue {
    ring: Ring,
    reader: ChainReader,
    /// The chain that is being served.
    chain: DescriptorChain,
    /// Where the bytes of its completion go.
    segments: Vec<Segment>,
    /// The driver wants to be interrupted.
    interrupt: bool,
    /// Descriptors of the chain that a device before this one was about to complete.
    completing: u16,
}

#[derive(Debug)]
enum Ring {
    Split(SplitRing),
    Packed(PackedRing),
}

impl Virtqueue {
    /// A queue of the agreed layout, at addresses that have been checked.
    pub fn new(addresses: RingAddresses, features: Features) -> Self {
        let ring = if features.contains(Features::RING_PACKED) {
            Ring::Packed(PackedRing::new(addresses, features))
        } else {
            Ring::Split(SplitRing::new(addresses, features))
        };
        Virtqueue {
            ring,
            reader: ChainReader::new(features, addresses.size),
            chain: DescriptorChain::default(),
            segments: Vec::new(),
            interrupt: false,
            completing: 0,
        }
    }

    /// A queue that goes on from another one's position. If it is not known whether the driver wanted
    /// an interrupt, it is interrupted: drivers bear that.
    pub fn at(addresses: RingAddresses, features: Features, position: QueuePosition) -> Self {
        let mut queue = Virtqueue::new(addresses, features);
        match &mut queue.ring {
            Ring::Split(ring) => ring.go_on_at(position.used),
            Ring::Packed(ring) => ring.go_on_at(position.used, position.wrap),
        }
        Virtqueue { interrupt: position.undecided, completing: position.completing, ..queue }
    }

    /// Where it is.
    pub fn position(&self) -> QueuePosition {
        let (used, wrap) = match &self.ring {
            Ring::Split(ring) => (ring.used(), true),
            Ring::Packed(ring) => ring.used(),
        };
        QueuePosition { used, wrap, undecided: false, completing: self.completing }
    }

    /// Where it is while the chain is completed: whether it is, guest memory alone says.
    pub fn completing_position(&self) -> QueuePosition {
        QueuePosition { completing: self.chain.descriptors.max(1), ..self.position() }
    }

    /// Looks whether the device before this one has completed the chain that it was about to, and goes on
    /// behind it then. `None` if it was about to complete none.
    ///
    /// # Errors
    /// The ring cannot be read.
    pub async fn find_completion(
        &mut self,
        memory: &impl GuestMemory,
    ) -> Result<Option<bool>, Fault> {
        if self.completing == 0 {
            return Ok(None);
        }
        let completed = match &mut self.ring {
            Ring::Split(ring) => ring.skip_completed(memory).await?,
            Ring::Packed(ring) => ring.skip_completed(memory, self.completing).await?,
        };
        self.completing = 0;
        self.interrupt |= completed;
        Ok(Some(completed))
    }

    /// Asks the driver for notifications, now that it is ready.
    ///
    /// # Errors
    /// The ring cannot be written.
    pub async fn start(&mut self, memory: &impl GuestMemory) -> Result<(), Fault> {
        match &mut self.ring {
            Ring::Split(ring) => ring.ask_for_notifications(memory).await,
            Ring::Packed(ring) => ring.ask_for_notifications(memory).await,
        }
    }

    /// Takes the next chain. Returns false if the driver has made none available.
    ///
    /// # Errors
    /// The rule that the driver broke; the queue is of no use then.
    pub async fn next(&mut self, memory: &impl GuestMemory) -> Result<bool, Fault> {
        let head = match &mut self.ring {
            Ring::Split(ring) => ring.look(memory).await?,
            Ring::Packed(ring) => ring.look(memory).await?,
        };
        let Some(head) = head else { return Ok(false) };
        let table = match &self.ring {
            Ring::Split(ring) => ring.table(),
            Ring::Packed(ring) => ring.table(),
        };
        self.reader.read(memory, table, head, &mut self.chain).await?;
        match &mut self.ring {
            Ring::Split(ring) => ring.take(),
            Ring::Packed(ring) => ring.take(&self.chain),
        }
        Ok(true)
    }

    /// The chain that was taken last.
    pub fn chain(&self) -> &DescriptorChain {
        &self.chain
    }

    /// Completes the chain: `data` goes to its writable buffers, in their order. Bytes that there is
    /// no room for are cut off. Returns whether there may be a next chain: most drivers wait for the
    /// completion.
    ///
    /// The driver sees a completion when its buffers are filled. (A client that refuses to write a
    /// buffer of memory that it has announced can show it all the same; the queue is of no use then.)
    ///
    /// # Errors
    /// A buffer or the ring cannot be written; the queue is of no use then.
    pub async fn complete(
        &mut self,
        memory: &impl GuestMemory,
        data: &mut Vec<u8>,
    ) -> Result<bool, Fault> {
        self.place(data);
        let length = data.len();
        let written = u32::try_from(length).unwrap_or(u32::MAX);
        let mut write = Write { segments: &mut self.segments, data };
        match &mut self.ring {
            Ring::Split(ring) => ring.complete(&self.chain, written, &mut write),
            Ring::Packed(ring) => ring.complete(&self.chain, written, &mut write),
        }
        let write = (&*self.segments, &**data);
        let (found, wanted) = match &mut self.ring {
            Ring::Split(ring) => (ring.publish(memory, write).await?, ring.wants_interrupt()),
            Ring::Packed(ring) => (ring.publish(memory, write).await?, ring.wants_interrupt()),
        };
        data.truncate(length);
        self.interrupt |= wanted;
        Ok(found)
    }

    /// Divides bytes among the chain's writable buffers.
    fn place(&mut self, data: &mut Vec<u8>) {
        self.segments.clear();
        let mut left = data.len();
        for buffer in self.chain.writable() {
            let length = usize::try_from(buffer.length).unwrap_or(usize::MAX).min(left);
            self.segments.push(Segment { address: buffer.address, length });
            left -= length;
        }
        data.truncate(data.len() - left);
    }

    /// Whether the driver wants to be interrupted. This is said once.
    pub fn take_interrupt(&mut self) -> bool {
        mem::take(&mut self.interrupt)
    }
}

/// Bytes to write, and where they go.
struct Write<'w> {
    segments: &'w mut Vec<Segment>,
    data: &'w mut Vec<u8>,
}

impl Write<'_> {
    /// Adds bytes for another place.
    fn add(&mut self, address: u64, bytes: &[u8]) {
        self.segments.push(segment(address, bytes.len()));
        self.data.extend_from_slice(bytes);
    }
}

/// A place for bytes in the rings.
fn segment(address: u64, length: usize) -> Segment {
    Segment { address, length }
}

#[cfg(test)]
mod tests;
