//! Descriptor chains: which pieces of guest memory a request consists of.
//!
//! A chain starts in the queue's descriptor table and may end in an indirect table. Descriptors
//! are fetched several at a time and looked at in their private copy.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};

use super::fault::Fault;
use super::flags::Features;

/// Bytes of a descriptor.
pub const DESCRIPTOR_SIZE: usize = size_of::<SplitDescriptor>();
/// Descriptors that are fetched at once: more than most chains have.
const FETCHED: u16 = 16;

/// How the descriptors of a chain follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Each names the next one.
    Split,
    /// They lie side by side.
    Packed,
}

/// A split queue's descriptor as it is in guest memory, section 2.7.5.
#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct SplitDescriptor {
    address: U64,
    length: U32,
    flags: U16,
    next: U16,
}

/// A packed queue's, section 2.8.13.
#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct PackedDescriptor {
    address: U64,
    length: U32,
    id: U16,
    flags: U16,
}

/// A descriptor of either layout.
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    /// The next descriptor of a split chain, the buffer id of a packed one.
    next_or_id: u16,
}

impl Descriptor {
    /// The descriptor that the bytes start with; `None` if they are too few.
    fn read(layout: Layout, bytes: &[u8]) -> Option<Descriptor> {
        match layout {
            Layout::Split => SplitDescriptor::read_from_prefix(bytes).ok().map(|(raw, _)| {
                let (address, length) = (raw.address.get(), raw.length.get());
                Descriptor { address, length, flags: raw.flags.get(), next_or_id: raw.next.get() }
            }),
            Layout::Packed => PackedDescriptor::read_from_prefix(bytes).ok().map(|(raw, _)| {
                let (address, length) = (raw.address.get(), raw.length.get());
                Descriptor { address, length, flags: raw.flags.get(), next_or_id: raw.id.get() }
            }),
        }
    }

    fn has(&self, flag: u32) -> bool {
        u32::from(self.flags) & flag != 0
    }
}

/// A piece of guest memory that belongs to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    /// Whether it is for the device to write; else it is for the device to read.
    pub writable: bool,
}

/// A request of the driver: a whole chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the answer names it by: a split chain's first descriptor, a packed one's buffer id.
    pub id: u16,
    /// How many of the queue's own descriptors it takes up.
    pub descriptors: u16,
    /// Its buffers, those for the device to read first.
    pub buffers: Vec<Buffer>,
}

impl Request {
    /// How many bytes the driver has room for.
    pub fn room(&self) -> u64 {
        self.writable().map(|buffer| u64::from(buffer.length)).sum()
    }

    /// The buffers for the device to write.
    pub fn writable(&self) -> impl Iterator<Item = &Buffer> {
        self.buffers.iter().filter(|buffer| buffer.writable)
    }
}

/// A chain that is being followed.
#[derive(Debug)]
pub struct ChainReader {
    layout: Layout,
    features: Features,
    /// Descriptors in the queue, and so the most that a chain has.
    queue_size: u16,
    table: Table,
    /// The next descriptor, which is in the table.
    next: u16,
    request: Request,
}

/// A table of descriptors.
#[derive(Debug)]
struct Table {
    address: u64,
    size: u16,
    indirect: bool,
}

/// What following a chain has come to.
#[derive(Debug)]
pub enum Followed {
    /// More descriptors have to be fetched.
    Further(ChainReader),
    /// This is the request.
    Whole(Request),
}

impl ChainReader {
    /// Begins at a descriptor of the queue's own table.
    ///
    /// # Errors
    /// [`Fault::NoSuchDescriptor`].
    pub fn new(features: Features, queue_size: u16, table: u64, head: u16) -> Result<Self, Fault> {
        let packed = features.contains(Features::RING_PACKED);
        let layout = if packed { Layout::Packed } else { Layout::Split };
        let table = Table { address: table, size: queue_size, indirect: false };
        table.check(head)?;
        let request = Request { id: head, descriptors: 0, buffers: Vec::new() };
        Ok(ChainReader { layout, features, queue_size, table, next: head, request })
    }

    /// Which bytes of guest memory have to be fetched next: address and length.
    pub fn wanted(&self) -> (u64, usize) {
        let offset = u64::from(self.next) * DESCRIPTOR_SIZE as u64;
        let count = (self.table.size - self.next).min(FETCHED);
        (self.table.address.saturating_add(offset), usize::from(count) * DESCRIPTOR_SIZE)
    }

    /// Goes on with the bytes that were [wanted](ChainReader::wanted).
    ///
    /// # Errors
    /// The rule that the chain breaks.
    pub fn follow(mut self, fetched: &[u8]) -> Result<Followed, Fault> {
        let first = self.next;
        loop {
            let position = self.next.checked_sub(first).map(usize::from);
            let bytes = position.and_then(|position| fetched.get(position * DESCRIPTOR_SIZE..));
            let Some(descriptor) = bytes.and_then(|bytes| Descriptor::read(self.layout, bytes))
            else {
                return Ok(Followed::Further(self));
            };
            self.count(&descriptor);
            // Section 2.8.8: in a packed table this flag means nothing.
            let plain = self.layout == Layout::Packed && self.table.indirect;
            if descriptor.has(VRING_DESC_F_INDIRECT) && !plain {
                self.enter(&descriptor)?;
                return Ok(Followed::Further(self));
            }
            self.add(&descriptor)?;
            match self.next_after(&descriptor) {
                None => return Ok(Followed::Whole(self.request)),
                Some(next) => {
                    self.table.check(next)?;
                    self.next = next;
                }
            }
        }
    }

    /// Keeps account of the queue's own descriptors.
    fn count(&mut self, descriptor: &Descriptor) {
        if !self.table.indirect {
            self.request.descriptors = self.request.descriptors.saturating_add(1);
            if self.layout == Layout::Packed {
                self.request.id = descriptor.next_or_id;
            }
        }
    }

    /// Where the chain goes on, unless this was its end.
    fn next_after(&self, descriptor: &Descriptor) -> Option<u16> {
        let following = self.next + 1;
        match self.layout {
            // Section 2.8.8: the flag means nothing in a table, which is all of the chain's rest.
            Layout::Packed if self.table.indirect => {
                (following < self.table.size).then_some(following)
            }
            _ if !descriptor.has(VRING_DESC_F_NEXT) => None,
            Layout::Packed => Some(following % self.table.size),
            Layout::Split => Some(descriptor.next_or_id),
        }
    }

    /// Goes on in an indirect table.
    fn enter(&mut self, descriptor: &Descriptor) -> Result<(), Fault> {
        if !self.features.contains(Features::INDIRECT_DESC) {
            return Err(Fault::IndirectNotAgreed);
        }
        if self.table.indirect || descriptor.has(VRING_DESC_F_NEXT) {
            return Err(Fault::IndirectNested);
        }
        let bytes = descriptor.length;
        let whole = bytes as usize % DESCRIPTOR_SIZE == 0;
        let size = u16::try_from(bytes as usize / DESCRIPTOR_SIZE).unwrap_or(u16::MAX);
        if !whole || size == 0 || size > self.queue_size {
            return Err(Fault::IndirectLength { bytes, size: self.queue_size });
        }
        self.table = Table { address: descriptor.address, size, indirect: true };
        self.next = 0;
        Ok(())
    }

    fn add(&mut self, descriptor: &Descriptor) -> Result<(), Fault> {
        let buffers = &mut self.request.buffers;
        let writable = descriptor.has(VRING_DESC_F_WRITE);
        if buffers.len() >= usize::from(self.queue_size) {
            return Err(Fault::ChainTooLong(self.queue_size));
        }
        if !writable && buffers.last().is_some_and(|last| last.writable) {
            return Err(Fault::BufferOrder);
        }
        let Descriptor { address, length, .. } = *descriptor;
        buffers.push(Buffer { address, length, writable });
        Ok(())
    }
}

impl Table {
    fn check(&self, index: u16) -> Result<(), Fault> {
        let size = self.size;
        if index < size { Ok(()) } else { Err(Fault::NoSuchDescriptor { index, size }) }
    }
}

#[cfg(test)]
mod tests {
    use mock_virtio_queue::desc::RawDescriptor;
    use mock_virtio_queue::desc::split::Descriptor as OracleDescriptor;
    use mock_virtio_queue::mock::MockSplitQueue;
    use mock_virtio_queue::{Queue, QueueT};
    use mock_vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
    use proptest::prelude::*;

    use super::*;

    /// Descriptors of the queue.
    const SIZE: u16 = 32;
    /// Where indirect tables of these tests are.
    const TABLES: u64 = 0x10000;

    type Memory = GuestMemoryMmap<()>;

    fn memory() -> Memory {
        Memory::from_ranges(&[(GuestAddress(0), 0x40000), (GuestAddress(0x3000_0000), 0x10000)])
            .unwrap()
    }

    /// Follows the chain that starts at a descriptor of the table at address 0.
    fn follow(memory: &Memory, head: u16) -> Result<Request, Fault> {
        let features = Features::all().difference(Features::RING_PACKED);
        let mut reader = ChainReader::new(features, SIZE, 0, head)?;
        loop {
            let (address, length) = reader.wanted();
            let mut bytes = vec![0; length];
            if memory.read_slice(&mut bytes, GuestAddress(address)).is_err() {
                let address = vfio_user_kit::DmaError::NotMapped { address };
                return Err(Fault::Memory(address));
            }
            match reader.follow(&bytes)? {
                Followed::Further(further) => reader = further,
                Followed::Whole(request) => return Ok(request),
            }
        }
    }

    /// What rust-vmm's queue makes of the only available chain.
    fn oracle(memory: &Memory, queue: &MockSplitQueue<'_, Memory>) -> Vec<Buffer> {
        let mut queue: Queue = queue.create_queue().unwrap();
        let chain = queue.pop_descriptor_chain(memory).unwrap();
        let buffer = |descriptor: OracleDescriptor| Buffer {
            address: descriptor.addr().0,
            length: descriptor.len(),
            writable: descriptor.is_write_only(),
        };
        chain.map(buffer).collect()
    }

    #[test]
    fn chains_of_a_mock_driver_are_followed_as_rust_vmm_does() {
        for length in 1..=SIZE {
            for indirect in [false, true] {
                let memory = memory();
                let mut queue = MockSplitQueue::new(&memory, SIZE);
                let added = if indirect {
                    queue.add_indirect_chain(length)
                } else {
                    queue.add_chain(length)
                };
                added.unwrap();
                let request = follow(&memory, 0).unwrap();
                assert_eq!(request.buffers.len(), usize::from(length));
                assert_eq!(request.buffers, oracle(&memory, &queue), "{length} {indirect}");
            }
        }
    }

    /// Descriptors that mean something more often than not.
    fn descriptor() -> impl Strategy<Value = (u64, u32, u16, u16)> {
        let table = (0..4_u64).prop_map(|table| TABLES + 0x100 * table);
        let address = prop_oneof![table, any::<u64>()];
        // rust-vmm ends a chain silently when its bytes are more than a u32 counts.
        let length = prop_oneof![(1..12_u32).prop_map(|count| 16 * count), 0..1_u32 << 24];
        let flags = prop_oneof![
            4 => Just(3_u16),
            3 => Just(1),
            2 => Just(2),
            1 => Just(0),
            2 => Just(4),
            1 => any::<u16>(),
        ];
        (address, length, flags, prop_oneof![9 => 0..SIZE, 1 => any::<u16>()])
    }

    proptest! {
        /// Whatever the driver has written: a chain that is accepted is the one that rust-vmm sees,
        /// and following it ends.
        #[test]
        fn accepted_chains_are_those_of_rust_vmm(
            table in prop::collection::vec(descriptor(), usize::from(SIZE)),
            tables in prop::collection::vec(descriptor(), 64),
            head in 0..SIZE + 2,
        ) {
            let memory = memory();
            let mut queue = MockSplitQueue::new(&memory, SIZE);
            queue.add_chain(1).unwrap();
            let avail = queue.avail().ring().ref_at(0).unwrap();
            avail.store(head);
            let places = (0..).step_by(16).zip(table).chain((TABLES..).step_by(16).zip(tables));
            for (place, (address, length, flags, next)) in places {
                let descriptor =
                    RawDescriptor::from(OracleDescriptor::new(address, length, flags, next));
                memory.write_obj(descriptor, GuestAddress(place)).unwrap();
            }
            match follow(&memory, head) {
                Ok(request) => {
                    prop_assert_eq!(request.id, head);
                    prop_assert_eq!(request.buffers, oracle(&memory, &queue));
                }
                Err(fault) => prop_assert!(!fault.to_string().is_empty()),
            }
        }
    }
}
