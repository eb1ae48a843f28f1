//! The virtqueue: how requests come from the driver, and how they are answered.
//!
//! There are two layouts in guest memory, of which driver and device choose one with the features:
//! [`SplitQueue`] and [`PackedQueue`]. Both take one request at a time. Guest memory is reached by
//! accesses that end later, so both are state machines: each of their stages is an access that was
//! started, and [`Virtqueue::dma_done`] is where it ends and the next one starts.

mod packed;
mod split;

use std::fmt;

use vfio_user_kit::{DmaError, GuestMemory, Segment};
use virtio_bindings::virtio_ring::{
    VRING_AVAIL_ALIGN_SIZE, VRING_DESC_ALIGN_SIZE, VRING_USED_ALIGN_SIZE,
};

pub use packed::PackedQueue;
pub use split::SplitQueue;

use super::chain::Request;
use super::fault::Fault;
use super::flags::Features;

/// The most descriptors of a queue. Linux's entropy driver has one request under way.
pub const MAX_QUEUE_SIZE: u16 = 64;
/// The queue's accesses end in the order in which they were started; they need no other tag.
const TAG: u64 = 0;

/// Where the parts of a queue are in guest memory, section 2.6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    /// Descriptors of the queue.
    pub size: u16,
    /// Address of the descriptor area.
    pub descriptors: u64,
    /// Address of the driver area, which the driver writes: the available ring of a split queue.
    pub driver: u64,
    /// Address of the device area, which the device writes: the used ring of a split queue.
    pub device: u64,
}

impl Areas {
    /// Whether a queue can be there.
    ///
    /// # Errors
    /// [`Fault::QueueSize`], [`Fault::Misaligned`].
    pub fn check(&self, features: Features) -> Result<(), Fault> {
        let packed = features.contains(Features::RING_PACKED);
        let possible = if packed { self.size > 0 } else { self.size.is_power_of_two() };
        if !possible || self.size > MAX_QUEUE_SIZE {
            return Err(Fault::QueueSize(self.size));
        }
        let driver = if packed { packed::EVENT_ALIGNMENT } else { VRING_AVAIL_ALIGN_SIZE };
        let parts = [
            ("descriptor area", self.descriptors, VRING_DESC_ALIGN_SIZE),
            ("driver area", self.driver, driver),
            ("device area", self.device, VRING_USED_ALIGN_SIZE),
        ];
        for (part, address, alignment) in parts {
            let alignment = u64::from(alignment);
            if address % alignment != 0 {
                return Err(Fault::Misaligned { part, address, alignment });
            }
        }
        Ok(())
    }
}

/// What has come of the end of an access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing for the device to do.
    None,
    /// There is a [request](Virtqueue::request).
    Request,
    /// An answer is written; the memory that its bytes were in can be used again.
    Written(Vec<u8>),
    /// A request is answered, and the driver wants to be interrupted.
    Interrupt,
}

/// A queue that its driver has enabled.
pub trait Virtqueue: fmt::Debug + Send {
    /// Looks for requests, now that the driver is ready.
    ///
    /// # Errors
    /// An access that cannot be started.
    fn start(&mut self, memory: &mut dyn GuestMemory) -> Result<(), Fault>;

    /// The driver says that there are requests.
    ///
    /// # Errors
    /// An access that cannot be started.
    fn notify(&mut self, memory: &mut dyn GuestMemory) -> Result<(), Fault>;

    /// The request that waits for its answer.
    fn request(&self) -> Option<&Request>;

    /// Answers the request: `bytes` go to its buffers, in their order. Those that there is no room
    /// for are lost.
    ///
    /// # Errors
    /// An access that cannot be started.
    fn answer(&mut self, memory: &mut dyn GuestMemory, bytes: Vec<u8>) -> Result<(), Fault>;

    /// Goes on after the end of an access.
    ///
    /// # Errors
    /// The rule that the driver broke; the queue is of no use then.
    fn dma_done(
        &mut self,
        memory: &mut dyn GuestMemory,
        result: Result<Vec<u8>, DmaError>,
    ) -> Result<Progress, Fault>;
}

/// A queue of the agreed layout, at areas that have been checked.
pub fn of_layout(areas: Areas, features: Features) -> Box<dyn Virtqueue> {
    if features.contains(Features::RING_PACKED) {
        Box::new(PackedQueue::new(areas, features))
    } else {
        Box::new(SplitQueue::new(areas, features))
    }
}

/// An answer on its way: bytes and where they go, in the order in which the driver is to see them.
///
/// It is one access to guest memory. If a part of it cannot be written, the parts after it are not,
/// so that the driver sees no answer whose buffers are not filled.
struct Answer {
    segments: Vec<Segment>,
    bytes: Vec<u8>,
}

impl Answer {
    /// Begins with the bytes for a request's buffers. Those that there is no room for are lost.
    fn new(request: &Request, mut bytes: Vec<u8>) -> Self {
        let mut segments = Vec::with_capacity(request.buffers.len() + 3);
        let mut left = bytes.len();
        for buffer in request.writable() {
            let length = usize::try_from(buffer.length).unwrap_or(usize::MAX).min(left);
            segments.push(Segment { address: buffer.address, length });
            left -= length;
        }
        bytes.truncate(bytes.len() - left);
        Answer { segments, bytes }
    }

    /// How many bytes there are so far, as rings count them.
    fn length(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    /// Adds something at another place.
    fn then(mut self, address: u64, bytes: &[u8]) -> Self {
        self.segments.push(Segment { address, length: bytes.len() });
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Starts to write it.
    fn write(self, memory: &mut dyn GuestMemory) -> Result<(), Fault> {
        Ok(memory.dma_scatter(self.segments, self.bytes, TAG)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_divided_among_the_buffers_for_writing() {
        use super::super::chain::Buffer;
        let buffer = |address, length, writable| Buffer { address, length, writable };
        let buffers = vec![buffer(1, 9, false), buffer(2, 3, true), buffer(3, 0, true)];
        let buffers = [buffers, vec![buffer(4, 4, true), buffer(5, 1, true)]].concat();
        let request = Request { id: 0, descriptors: 5, buffers };
        let divided = |count: u8| {
            let answer = Answer::new(&request, (0..count).collect()).then(9, &[0xaa; 2]);
            let places = answer.segments.iter().map(|part| (part.address, part.length));
            (places.collect::<Vec<_>>(), answer.bytes.len())
        };
        assert_eq!(divided(0), (vec![(2, 0), (3, 0), (4, 0), (5, 0), (9, 2)], 2));
        assert_eq!(divided(5), (vec![(2, 3), (3, 0), (4, 2), (5, 0), (9, 2)], 7));
        assert_eq!(divided(200), (vec![(2, 3), (3, 0), (4, 4), (5, 1), (9, 2)], 10));
    }

    #[test]
    fn each_layout_has_its_rules() {
        let packed = Features::RING_PACKED;
        let areas = Areas { size: 48, descriptors: 16, driver: 2, device: 4 };
        assert_eq!(areas.check(Features::empty()), Err(Fault::QueueSize(48)));
        let misaligned = Fault::Misaligned { part: "driver area", address: 2, alignment: 4 };
        assert_eq!(areas.check(packed), Err(misaligned));
        assert_eq!(Areas { driver: 8, ..areas }.check(packed), Ok(()));
        assert_eq!(Areas { size: 0, ..areas }.check(packed), Err(Fault::QueueSize(0)));
        assert_eq!(Areas { size: 32, ..areas }.check(Features::empty()), Ok(()));
    }
}
