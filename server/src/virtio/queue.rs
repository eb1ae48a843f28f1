//! The split virtqueue, section 2.7: requests come in one ring and are answered in another.
//!
//! One request is taken at a time, in the steps of `Stage`. Each step is an access to guest
//! memory that was started, and [`Virtqueue::dma_done`] is where it ends and the next one starts:
//!
//! ```text
//!  notify ─> ReadingAvailable ─> ReadingHead ─> ReadingDescriptors ─> Serving ─> (the device)
//!                   ^                                                               │ answer
//!                   └── WritingIndex <── WritingElement <── WritingEvent <── WritingBuffers
//! ```
//!
//! Whether the driver wants an interrupt is known when the available ring is read after the index
//! was written; whether there are further requests is known by the same read.

use std::mem;

use vfio_user_kit::{DmaError, GuestMemory};
use virtio_bindings::virtio_ring::{
    VRING_AVAIL_ALIGN_SIZE, VRING_AVAIL_F_NO_INTERRUPT, VRING_DESC_ALIGN_SIZE,
    VRING_USED_ALIGN_SIZE,
};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::chain::{ChainReader, DESCRIPTOR_SIZE, Followed, Request};
use super::fault::Fault;
use super::flags::Features;

/// The most descriptors of a queue. Linux's entropy driver has one request under way.
pub const MAX_QUEUE_SIZE: u16 = 64;
/// The queue's accesses end in the order in which they were started; they need no other tag.
const TAG: u64 = 0;

/// The start of the available ring.
#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct AvailableHead {
    flags: U16,
    index: U16,
}

/// An entry of the used ring: an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
struct UsedElement {
    head: U32,
    written: U32,
}

/// Where the parts of a queue are in guest memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Descriptors, and entries of each ring.
    pub size: u16,
    /// Address of the descriptor table.
    pub descriptors: u64,
    /// Address of the available ring, which the driver writes.
    pub available: u64,
    /// Address of the used ring, which the device writes.
    pub used: u64,
}

impl Rings {
    /// Where a driver of the legacy interface has them: in one piece, the used ring on a page of
    /// its own (section 2.7.2).
    pub fn legacy(address: u64, page_size: u64) -> Self {
        let size = MAX_QUEUE_SIZE;
        let available = address.saturating_add(u64::from(size) * DESCRIPTOR_SIZE as u64);
        let end = available.saturating_add(4 + 2 * u64::from(size) + 2);
        let used = end.checked_next_multiple_of(page_size).unwrap_or(u64::MAX);
        Rings { size, descriptors: address, available, used }
    }

    /// Whether a queue can be there.
    ///
    /// # Errors
    /// [`Fault::QueueSize`], [`Fault::Misaligned`].
    pub fn check(&self) -> Result<(), Fault> {
        if !self.size.is_power_of_two() || self.size > MAX_QUEUE_SIZE {
            return Err(Fault::QueueSize(self.size));
        }
        let parts = [
            ("descriptor table", self.descriptors, VRING_DESC_ALIGN_SIZE),
            ("available ring", self.available, VRING_AVAIL_ALIGN_SIZE),
            ("used ring", self.used, VRING_USED_ALIGN_SIZE),
        ];
        for (part, address, alignment) in parts {
            let alignment = u64::from(alignment);
            if address % alignment != 0 {
                return Err(Fault::Misaligned { part, address, alignment });
            }
        }
        Ok(())
    }

    /// Bytes of the available ring: flags, index, entries, used event.
    fn available_bytes(&self) -> usize {
        4 + 2 * usize::from(self.size) + 2
    }

    fn available_entry(&self, index: u16) -> u64 {
        self.available.saturating_add(4 + 2 * u64::from(index % self.size))
    }

    fn used_entry(&self, index: u16) -> u64 {
        self.used.saturating_add(4 + 8 * u64::from(index % self.size))
    }

    fn used_index(&self) -> u64 {
        self.used.saturating_add(2)
    }

    /// Where the device says at which request it wants to be notified.
    fn available_event(&self) -> u64 {
        self.used.saturating_add(4 + 8 * u64::from(self.size))
    }
}

/// What is under way.
#[derive(Debug)]
enum Stage {
    /// Nothing: every request is answered.
    Idle,
    /// The first notification is being asked for.
    Starting,
    /// `answered` tells that the driver may want an interrupt for the answer before.
    ReadingAvailable {
        answered: bool,
    },
    ReadingHead,
    ReadingDescriptors(ChainReader),
    /// The device has the request.
    Serving(Request),
    WritingBuffers {
        left: usize,
        answer: UsedElement,
    },
    WritingEvent(UsedElement),
    WritingElement,
    WritingIndex,
}

/// What has come of the end of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing for the device to do.
    None,
    /// There is a [request](Virtqueue::request).
    Request,
    /// A request is answered, and the driver wants to be interrupted.
    Interrupt,
}

/// A queue that its driver has enabled.
#[derive(Debug)]
pub struct Virtqueue {
    rings: Rings,
    features: Features,
    /// Number of the next request, counted modulo 2^16.
    next_available: u16,
    /// Number of the next answer.
    next_used: u16,
    /// The driver has notified since the available ring was looked at.
    notified: bool,
    stage: Stage,
}

impl Virtqueue {
    /// A queue at rings that have been checked.
    pub fn new(rings: Rings, features: Features) -> Self {
        Virtqueue {
            rings,
            features,
            next_available: 0,
            next_used: 0,
            notified: false,
            stage: Stage::Idle,
        }
    }

    /// Looks for requests, now that the driver is ready.
    ///
    /// # Errors
    /// An access that cannot be started.
    pub fn start(&mut self, memory: &mut impl GuestMemory) -> Result<(), Fault> {
        if self.features.contains(Features::EVENT_IDX) {
            self.write_event(memory, Stage::Starting)
        } else {
            self.read_available(memory, false)
        }
    }

    /// The driver says that there are requests.
    ///
    /// # Errors
    /// An access that cannot be started.
    pub fn notify(&mut self, memory: &mut impl GuestMemory) -> Result<(), Fault> {
        self.notified = true;
        match self.stage {
            Stage::Idle => self.read_available(memory, false),
            _ => Ok(()),
        }
    }

    /// The request that waits for its answer.
    pub fn request(&self) -> Option<&Request> {
        match &self.stage {
            Stage::Serving(request) => Some(request),
            _ => None,
        }
    }

    /// Answers the request: `bytes` go to its buffers, in their order. No more than there is room
    /// for.
    ///
    /// # Errors
    /// An access that cannot be started.
    pub fn answer(&mut self, memory: &mut impl GuestMemory, bytes: Vec<u8>) -> Result<(), Fault> {
        let Stage::Serving(request) = mem::replace(&mut self.stage, Stage::Idle) else {
            return Ok(());
        };
        let length = bytes.len();
        let mut left = 0;
        for (address, piece) in scatter(&request, bytes) {
            memory.dma_write(address, piece, TAG)?;
            left += 1;
        }
        let answer = UsedElement {
            head: U32::new(request.head.into()),
            written: U32::new(u32::try_from(length).unwrap_or(u32::MAX)),
        };
        if left == 0 {
            return self.publish(memory, answer);
        }
        self.stage = Stage::WritingBuffers { left, answer };
        Ok(())
    }

    /// Goes on after the end of an access.
    ///
    /// # Errors
    /// The rule that the driver broke; the queue is of no use then.
    pub fn dma_done(
        &mut self,
        memory: &mut impl GuestMemory,
        result: Result<Vec<u8>, DmaError>,
    ) -> Result<Progress, Fault> {
        let bytes = result?;
        match mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Starting => self.read_available(memory, false)?,
            Stage::ReadingAvailable { answered } => {
                return self.look_for_requests(memory, &bytes, answered);
            }
            Stage::ReadingHead => {
                let head = U16::read_from_bytes(&bytes).map_or(u16::MAX, U16::get);
                let table = self.rings.descriptors;
                let chain = ChainReader::new(self.features, self.rings.size, table, head)?;
                self.next_available = self.next_available.wrapping_add(1);
                self.read_descriptors(memory, chain)?;
            }
            Stage::ReadingDescriptors(chain) => match chain.follow(&bytes)? {
                Followed::Further(chain) => self.read_descriptors(memory, chain)?,
                Followed::Whole(request) => {
                    self.stage = Stage::Serving(request);
                    return Ok(Progress::Request);
                }
            },
            Stage::WritingBuffers { left, answer } if left > 1 => {
                self.stage = Stage::WritingBuffers { left: left - 1, answer };
            }
            Stage::WritingBuffers { answer, .. } => self.publish(memory, answer)?,
            Stage::WritingEvent(answer) => self.write_element(memory, answer)?,
            Stage::WritingElement => {
                self.next_used = self.next_used.wrapping_add(1);
                let index = self.next_used.to_le_bytes().to_vec();
                memory.dma_write(self.rings.used_index(), index, TAG)?;
                self.stage = Stage::WritingIndex;
            }
            Stage::WritingIndex => self.read_available(memory, true)?,
            // No access is under way in these.
            stage @ (Stage::Idle | Stage::Serving(_)) => self.stage = stage,
        }
        Ok(Progress::None)
    }

    fn read_available(
        &mut self,
        memory: &mut impl GuestMemory,
        answered: bool,
    ) -> Result<(), Fault> {
        self.notified = false;
        memory.dma_read(self.rings.available, self.rings.available_bytes(), TAG)?;
        self.stage = Stage::ReadingAvailable { answered };
        Ok(())
    }

    /// Takes flags, index and used event from a copy of the available ring. Its entries are not
    /// looked at: they may be older than the index.
    fn look_for_requests(
        &mut self,
        memory: &mut impl GuestMemory,
        ring: &[u8],
        answered: bool,
    ) -> Result<Progress, Fault> {
        let head = AvailableHead::read_from_prefix(ring);
        let used_event = U16::read_from_suffix(ring);
        let (Ok((head, _)), Ok((_, used_event))) = (head, used_event) else {
            return Err(DmaError::NotMapped { address: self.rings.available }.into());
        };
        let (from, to) = (self.next_available, head.index.get());
        let waiting = to.wrapping_sub(from);
        if waiting > self.rings.size {
            return Err(Fault::AvailableIndex { from, to, size: self.rings.size });
        }
        if waiting > 0 {
            memory.dma_read(self.rings.available_entry(from), size_of::<U16>(), TAG)?;
            self.stage = Stage::ReadingHead;
        } else if self.notified {
            self.read_available(memory, false)?;
        }
        let interrupt = answered && self.wants_interrupt(head.flags.get(), used_event.get());
        Ok(if interrupt { Progress::Interrupt } else { Progress::None })
    }

    /// Whether the driver wants to hear of the last answer, section 2.7.7.2.
    fn wants_interrupt(&self, flags: u16, used_event: u16) -> bool {
        if self.features.contains(Features::EVENT_IDX) {
            used_event == self.next_used.wrapping_sub(1)
        } else {
            u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0
        }
    }

    fn read_descriptors(
        &mut self,
        memory: &mut impl GuestMemory,
        chain: ChainReader,
    ) -> Result<(), Fault> {
        let (address, length) = chain.wanted();
        memory.dma_read(address, length, TAG)?;
        self.stage = Stage::ReadingDescriptors(chain);
        Ok(())
    }

    /// Puts an answer into the used ring, now that its buffers are written. The next notification
    /// is asked for before: the look at the available ring that follows the answer then misses no
    /// request that the driver does not notify of.
    fn publish(&mut self, memory: &mut impl GuestMemory, answer: UsedElement) -> Result<(), Fault> {
        if self.features.contains(Features::EVENT_IDX) {
            self.write_event(memory, Stage::WritingEvent(answer))
        } else {
            self.write_element(memory, answer)
        }
    }

    fn write_event(&mut self, memory: &mut impl GuestMemory, stage: Stage) -> Result<(), Fault> {
        let event = self.next_available.to_le_bytes().to_vec();
        memory.dma_write(self.rings.available_event(), event, TAG)?;
        self.stage = stage;
        Ok(())
    }

    fn write_element(
        &mut self,
        memory: &mut impl GuestMemory,
        answer: UsedElement,
    ) -> Result<(), Fault> {
        let entry = self.rings.used_entry(self.next_used);
        memory.dma_write(entry, answer.as_bytes().to_vec(), TAG)?;
        self.stage = Stage::WritingElement;
        Ok(())
    }
}

/// Divides bytes among the buffers of a request.
fn scatter(request: &Request, bytes: Vec<u8>) -> Vec<(u64, Vec<u8>)> {
    let mut pieces = Vec::new();
    let mut rest = &bytes[..];
    for buffer in request.writable() {
        let length = usize::try_from(buffer.length).unwrap_or(usize::MAX).min(rest.len());
        if length == bytes.len() && length > 0 {
            // The usual request has one buffer, and its bytes need no copy.
            return vec![(buffer.address, bytes)];
        }
        let (piece, others) = rest.split_at(length);
        rest = others;
        if length > 0 {
            pieces.push((buffer.address, piece.to_vec()));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use virtio_queue::mock::MockSplitQueue;
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    use super::*;

    /// Descriptors of the queue. The mock driver's rings overlap if it uses more than half of them.
    const SIZE: u16 = 64;

    /// Guest memory whose accesses end one by one, when the test wants them to.
    struct Memory {
        memory: GuestMemoryMmap<()>,
        done: VecDeque<Result<Vec<u8>, DmaError>>,
    }

    impl Memory {
        fn new() -> Self {
            let ranges = [(GuestAddress(0), 0x10000), (GuestAddress(0x3000_0000), 0x10000)];
            Memory { memory: GuestMemoryMmap::from_ranges(&ranges).unwrap(), done: VecDeque::new() }
        }
    }

    impl GuestMemory for Memory {
        fn dma_read(&mut self, address: u64, length: usize, _tag: u64) -> Result<(), DmaError> {
            let mut bytes = vec![0; length];
            let read = self.memory.read_slice(&mut bytes, GuestAddress(address));
            let missing = |_| DmaError::NotMapped { address };
            self.done.push_back(read.map(|()| bytes).map_err(missing));
            Ok(())
        }

        fn dma_write(&mut self, address: u64, data: Vec<u8>, _tag: u64) -> Result<(), DmaError> {
            let written = self.memory.write_slice(&data, GuestAddress(address));
            let missing = |_| DmaError::NotMapped { address };
            self.done.push_back(written.map(|()| Vec::new()).map_err(missing));
            Ok(())
        }
    }

    /// Ends every access. Returns how many interrupts there were, or stops at a request.
    fn run(queue: &mut Virtqueue, memory: &mut Memory) -> Result<usize, Fault> {
        let mut interrupts = 0;
        while let Some(done) = memory.done.pop_front() {
            match queue.dma_done(memory, done)? {
                Progress::None => {}
                Progress::Interrupt => interrupts += 1,
                Progress::Request => break,
            }
        }
        Ok(interrupts)
    }

    fn rings(mock: &MockSplitQueue<'_, GuestMemoryMmap<()>>) -> Rings {
        Rings {
            size: SIZE,
            descriptors: mock.desc_table_addr().0,
            available: mock.avail_addr().0,
            used: mock.used_addr().0,
        }
    }

    proptest! {
        /// A mock driver of rust-vmm makes one chain after the other available, and finds the
        /// answers in its used ring. (Its buffers are for reading: the answers have no bytes.)
        #[test]
        fn a_mock_driver_finds_its_answers(
            chains in prop::collection::vec((1..6_u16, any::<bool>()), 1..20)
        ) {
            let mut memory = Memory::new();
            let driver = memory.memory.clone();
            let mut mock = MockSplitQueue::new(&driver, SIZE);
            let mut queue = Virtqueue::new(rings(&mock), Features::INDIRECT_DESC);
            queue.start(&mut memory).unwrap();
            run(&mut queue, &mut memory).unwrap();
            let mut heads = Vec::new();
            for (length, indirect) in &chains {
                if *indirect {
                    mock.add_indirect_chain(*length).unwrap();
                } else {
                    mock.add_chain(*length).unwrap();
                }
                heads.push(mock.avail().ring().ref_at(heads.len()).unwrap().load());
                queue.notify(&mut memory).unwrap();
                prop_assert_eq!(run(&mut queue, &mut memory), Ok(0));
                let request = queue.request().expect("there is one");
                prop_assert_eq!(Some(&request.head), heads.last());
                prop_assert_eq!(request.buffers.len(), usize::from(*length));
                queue.answer(&mut memory, Vec::new()).unwrap();
                prop_assert_eq!(run(&mut queue, &mut memory), Ok(1));
            }
            prop_assert!(queue.request().is_none());
            prop_assert_eq!(usize::from(mock.used().idx().load()), chains.len());
            for (position, head) in heads.iter().enumerate() {
                let element = mock.used().ring().ref_at(position).unwrap().load();
                prop_assert_eq!((element.id(), element.len()), (u32::from(*head), 0));
            }
        }
    }

    #[test]
    fn bytes_are_divided_among_the_buffers_for_writing() {
        let buffer = |address, length, writable| super::super::Buffer { address, length, writable };
        let request = Request {
            head: 0,
            buffers: vec![
                buffer(1, 9, false),
                buffer(2, 3, true),
                buffer(3, 0, true),
                buffer(4, 4, true),
                buffer(5, 9, true),
            ],
        };
        let divided = |count: u8| scatter(&request, (0..count).collect());
        assert_eq!(divided(0), []);
        assert_eq!(divided(2), [(2, vec![0, 1])]);
        assert_eq!(divided(3), [(2, vec![0, 1, 2])]);
        assert_eq!(divided(8), [(2, vec![0, 1, 2]), (4, vec![3, 4, 5, 6]), (5, vec![7])]);
    }

    #[test]
    fn the_legacy_layout_is_that_of_the_specification() {
        // Section 2.7.2's formula for 64 descriptors: 1024 bytes, 134 bytes, up to the next page.
        let rings = Rings::legacy(0x8000, 4096);
        assert_eq!(rings, Rings { size: 64, descriptors: 0x8000, available: 0x8400, used: 0x9000 });
        assert_eq!(rings.check(), Ok(()));
    }

    #[test]
    fn a_notification_during_the_look_is_not_lost() {
        let mut memory = Memory::new();
        let driver = memory.memory.clone();
        let mut mock = MockSplitQueue::new(&driver, SIZE);
        let mut queue = Virtqueue::new(rings(&mock), Features::empty());
        queue.start(&mut memory).unwrap();
        // The look at the ring has been taken, its end is not here yet.
        mock.add_chain(1).unwrap();
        queue.notify(&mut memory).unwrap();
        run(&mut queue, &mut memory).unwrap();
        assert!(queue.request().is_some());
    }
}
