//! The split virtqueue, section 2.7: requests come in one ring and are answered in another.
//!
//! ```text
//!   start ─> Starting (with EVENT_IDX)
//!                   v
//!  notify ─> ReadingAvailable ─> ReadingHead ─> ReadingDescriptors ─> Serving ─> (the device)
//!                   ^                                                               │ answer
//!                   └────────────────────────── Answering <─────────────────────────┘
//! ```
//!
//! Whether the driver wants an interrupt is known when the available ring is read after an answer
//! was written; whether there are further requests is known by the same read.

use std::mem;

use vfio_user_kit::{DmaError, GuestMemory};
use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::super::chain::{ChainReader, DESCRIPTOR_SIZE, Followed, Request};
use super::super::fault::Fault;
use super::super::flags::Features;
use super::{Answer, Areas, MAX_QUEUE_SIZE, Progress, TAG, Virtqueue};

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

/// The rings in the driver and the device area.
impl Areas {
    /// Where a driver of the legacy interface has them: in one piece, the used ring on a page of
    /// its own (section 2.7.2).
    pub fn legacy(address: u64, page_size: u64) -> Self {
        let size = MAX_QUEUE_SIZE;
        let driver = address.saturating_add(u64::from(size) * DESCRIPTOR_SIZE as u64);
        let end = driver.saturating_add(4 + 2 * u64::from(size) + 2);
        let device = end.checked_next_multiple_of(page_size).unwrap_or(u64::MAX);
        Areas { size, descriptors: address, driver, device }
    }

    /// Bytes of the available ring: flags, index, entries, used event.
    fn available_bytes(&self) -> usize {
        4 + 2 * usize::from(self.size) + 2
    }

    fn available_entry(&self, index: u16) -> u64 {
        self.driver.saturating_add(4 + 2 * u64::from(index % self.size))
    }

    fn used_entry(&self, index: u16) -> u64 {
        self.device.saturating_add(4 + 8 * u64::from(index % self.size))
    }

    fn used_index(&self) -> u64 {
        self.device.saturating_add(2)
    }

    /// Where the device says at which request it wants to be notified.
    fn available_event(&self) -> u64 {
        self.device.saturating_add(4 + 8 * u64::from(self.size))
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
    Answering,
}

/// A split queue that its driver has enabled.
#[derive(Debug)]
pub struct SplitQueue {
    areas: Areas,
    features: Features,
    /// Number of the next request, counted modulo 2^16.
    next_available: u16,
    /// Number of the next answer.
    next_used: u16,
    /// The driver has notified since the available ring was looked at.
    notified: bool,
    stage: Stage,
}

impl SplitQueue {
    /// A queue at areas that have been checked.
    pub fn new(areas: Areas, features: Features) -> Self {
        SplitQueue {
            areas,
            features,
            next_available: 0,
            next_used: 0,
            notified: false,
            stage: Stage::Idle,
        }
    }

    fn read_available(
        &mut self,
        memory: &mut dyn GuestMemory,
        answered: bool,
    ) -> Result<(), Fault> {
        self.notified = false;
        memory.dma_read(self.areas.driver, self.areas.available_bytes(), TAG)?;
        self.stage = Stage::ReadingAvailable { answered };
        Ok(())
    }

    /// Takes flags, index and used event from a copy of the available ring. Its entries are not
    /// looked at: they may be older than the index.
    fn look_for_requests(
        &mut self,
        memory: &mut dyn GuestMemory,
        ring: &[u8],
        answered: bool,
    ) -> Result<Progress, Fault> {
        let head = AvailableHead::read_from_prefix(ring);
        let used_event = U16::read_from_suffix(ring);
        let (Ok((head, _)), Ok((_, used_event))) = (head, used_event) else {
            return Err(DmaError::NotMapped { address: self.areas.driver }.into());
        };
        let (from, to) = (self.next_available, head.index.get());
        let waiting = to.wrapping_sub(from);
        if waiting > self.areas.size {
            return Err(Fault::AvailableIndex { from, to, size: self.areas.size });
        }
        if waiting > 0 {
            memory.dma_read(self.areas.available_entry(from), size_of::<U16>(), TAG)?;
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
        memory: &mut dyn GuestMemory,
        chain: ChainReader,
    ) -> Result<(), Fault> {
        let (address, length) = chain.wanted();
        memory.dma_read(address, length, TAG)?;
        self.stage = Stage::ReadingDescriptors(chain);
        Ok(())
    }
}

impl Virtqueue for SplitQueue {
    fn start(&mut self, memory: &mut dyn GuestMemory) -> Result<(), Fault> {
        if self.features.contains(Features::EVENT_IDX) {
            let event = self.next_available.to_le_bytes().to_vec();
            memory.dma_write(self.areas.available_event(), event, TAG)?;
            self.stage = Stage::Starting;
            Ok(())
        } else {
            self.read_available(memory, false)
        }
    }

    fn notify(&mut self, memory: &mut dyn GuestMemory) -> Result<(), Fault> {
        self.notified = true;
        match self.stage {
            Stage::Idle => self.read_available(memory, false),
            _ => Ok(()),
        }
    }

    fn request(&self) -> Option<&Request> {
        match &self.stage {
            Stage::Serving(request) => Some(request),
            _ => None,
        }
    }

    fn answer(&mut self, memory: &mut dyn GuestMemory, bytes: Vec<u8>) -> Result<(), Fault> {
        let Stage::Serving(request) = mem::replace(&mut self.stage, Stage::Idle) else {
            return Ok(());
        };
        let mut answer = Answer::new(&request, bytes);
        let element =
            UsedElement { head: U32::new(request.id.into()), written: U32::new(answer.length()) };
        if self.features.contains(Features::EVENT_IDX) {
            // Before the answer: the look at the available ring after it then misses no request
            // that the driver does not notify of.
            let event = self.next_available.to_le_bytes();
            answer = answer.then(self.areas.available_event(), &event);
        }
        let index = self.next_used.wrapping_add(1).to_le_bytes();
        answer
            .then(self.areas.used_entry(self.next_used), element.as_bytes())
            .then(self.areas.used_index(), &index)
            .write(memory)?;
        self.stage = Stage::Answering;
        Ok(())
    }

    fn dma_done(
        &mut self,
        memory: &mut dyn GuestMemory,
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
                let table = self.areas.descriptors;
                let chain = ChainReader::new(self.features, self.areas.size, table, head)?;
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
            Stage::Answering => {
                self.next_used = self.next_used.wrapping_add(1);
                self.read_available(memory, true)?;
                return Ok(Progress::Written(bytes));
            }
            // No access is under way in these.
            stage @ (Stage::Idle | Stage::Serving(_)) => self.stage = stage,
        }
        Ok(Progress::None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use mock_virtio_queue::mock::MockSplitQueue;
    use mock_vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
    use proptest::prelude::*;
    use vfio_user_kit::{Rejected, Segment};

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
        fn dma_read(&mut self, address: u64, length: usize, _tag: u64) -> Result<(), Rejected> {
            let mut bytes = vec![0; length];
            let read = self.memory.read_slice(&mut bytes, GuestAddress(address));
            let missing = |_| DmaError::NotMapped { address };
            self.done.push_back(read.map(|()| bytes).map_err(missing));
            Ok(())
        }

        fn dma_write(&mut self, address: u64, data: Vec<u8>, _tag: u64) -> Result<(), Rejected> {
            let written = self.memory.write_slice(&data, GuestAddress(address));
            let missing = |_| DmaError::NotMapped { address };
            self.done.push_back(written.map(|()| data).map_err(missing));
            Ok(())
        }

        fn dma_scatter(
            &mut self,
            segments: Vec<Segment>,
            data: Vec<u8>,
            _tag: u64,
        ) -> Result<(), Rejected> {
            let mut rest = &data[..];
            for Segment { address, length } in segments {
                let (piece, others) = rest.split_at(length);
                self.memory.write_slice(piece, GuestAddress(address)).unwrap();
                rest = others;
            }
            self.done.push_back(Ok(data));
            Ok(())
        }
    }

    /// Ends every access. Returns how many interrupts there were, or stops at a request.
    fn run(queue: &mut SplitQueue, memory: &mut Memory) -> Result<usize, Fault> {
        let mut interrupts = 0;
        while let Some(done) = memory.done.pop_front() {
            match queue.dma_done(memory, done)? {
                Progress::None | Progress::Written(_) => {}
                Progress::Interrupt => interrupts += 1,
                Progress::Request => break,
            }
        }
        Ok(interrupts)
    }

    fn areas(mock: &MockSplitQueue<'_, GuestMemoryMmap<()>>) -> Areas {
        Areas {
            size: SIZE,
            descriptors: mock.desc_table_addr().0,
            driver: mock.avail_addr().0,
            device: mock.used_addr().0,
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
            let mut queue = SplitQueue::new(areas(&mock), Features::INDIRECT_DESC);
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
                prop_assert_eq!(Some(&request.id), heads.last());
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
    fn the_legacy_layout_is_that_of_the_specification() {
        // Section 2.7.2's formula for 64 descriptors: 1024 bytes, 134 bytes, up to the next page.
        let areas = Areas::legacy(0x8000, 4096);
        assert_eq!(areas, Areas { size: 64, descriptors: 0x8000, driver: 0x8400, device: 0x9000 });
        assert_eq!(areas.check(Features::empty()), Ok(()));
    }

    #[test]
    fn a_notification_during_the_look_is_not_lost() {
        let mut memory = Memory::new();
        let driver = memory.memory.clone();
        let mut mock = MockSplitQueue::new(&driver, SIZE);
        let mut queue = SplitQueue::new(areas(&mock), Features::empty());
        queue.start(&mut memory).unwrap();
        // The look at the ring has been taken, its end is not here yet.
        mock.add_chain(1).unwrap();
        queue.notify(&mut memory).unwrap();
        run(&mut queue, &mut memory).unwrap();
        assert!(queue.request().is_some());
    }
}
