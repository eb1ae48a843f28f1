//! Descriptor chains: which buffers of guest memory a request consists of.
//!
//! A chain starts in the queue's descriptor table and may end in an indirect table. Both are copied,
//! and the chain is followed in the copies.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use vfio_user_device::{GuestMemory, Segment};
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};

use super::fault::Fault;
use super::flags::Features;

/// Bytes of a descriptor.
pub const DESCRIPTOR_SIZE: usize = size_of::<RawDescriptor>();

/// How the descriptors of a chain follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Each names the next one.
    Split,
    /// They lie side by side.
    Packed,
}

/// A descriptor as it is in guest memory, sections 2.7.5 and 2.8.13: the layouts differ in what its
/// last two fields are.
#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct RawDescriptor {
    address: U64,
    length: U32,
    last: [U16; 2],
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
        let (raw, _) = RawDescriptor::read_from_prefix(bytes).ok()?;
        let [first, second] = raw.last.map(U16::get);
        let (flags, next_or_id) = match layout {
            Layout::Split => (first, second),
            Layout::Packed => (second, first),
        };
        let (address, length) = (raw.address.get(), raw.length.get());
        Some(Descriptor { address, length, flags, next_or_id })
    }

    fn has(&self, flag: u32) -> bool {
        u32::from(self.flags) & flag != 0
    }
}

/// A buffer of a descriptor chain, in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    /// Whether it is for the device to write; else it is for the device to read.
    pub writable: bool,
}

/// A request of the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescriptorChain {
    /// What its completion names it by: a split chain's first descriptor, a packed one's buffer id.
    pub id: u16,
    /// How many of the queue's own descriptors it takes up.
    pub descriptors: u16,
    /// Its buffers, those for the device to read first.
    pub buffers: Vec<Buffer>,
}

impl DescriptorChain {
    /// How many bytes the device can write.
    pub fn writable_len(&self) -> u64 {
        self.writable().map(|buffer| u64::from(buffer.length)).sum()
    }

    /// Where the device's bytes go.
    pub fn segments(&self) -> Vec<Segment> {
        let place = |buffer: &Buffer| Segment {
            address: buffer.address,
            length: usize::try_from(buffer.length).unwrap_or(usize::MAX),
        };
        self.writable().map(place).collect()
    }

    /// The buffers for the device to write.
    pub fn writable(&self) -> impl Iterator<Item = &Buffer> {
        self.buffers.iter().filter(|buffer| buffer.writable)
    }
}

/// Reads the chains of a queue.
#[derive(Debug)]
pub struct ChainReader {
    layout: Layout,
    features: Features,
    /// Descriptors in the queue, and so the most that a chain has.
    queue_size: u16,
    /// The copy of an indirect table.
    indirect: Vec<u8>,
}

/// The copy of a descriptor table.
#[derive(Clone, Copy)]
struct Table<'t> {
    bytes: &'t [u8],
    indirect: bool,
}

impl ChainReader {
    /// A reader for a queue of that size.
    pub fn new(features: Features, queue_size: u16) -> Self {
        let packed = features.contains(Features::RING_PACKED);
        let layout = if packed { Layout::Packed } else { Layout::Split };
        ChainReader { layout, features, queue_size, indirect: Vec::new() }
    }

    /// Bytes of the descriptor table of a queue of that size.
    pub fn table_len(queue_size: u16) -> usize {
        usize::from(queue_size) * DESCRIPTOR_SIZE
    }

    /// Reads the chain that starts at a descriptor of the queue's own table, of which `table` is a
    /// copy.
    ///
    /// # Errors
    /// The rule that the chain breaks.
    pub async fn read(
        &mut self,
        memory: &impl GuestMemory,
        table: &[u8],
        head: u16,
        chain: &mut DescriptorChain,
    ) -> Result<(), Fault> {
        (chain.id, chain.descriptors) = (head, 0);
        chain.buffers.clear();
        let table = Table { bytes: table, indirect: false };
        let Some(place) = self.follow(table, head, chain)? else { return Ok(()) };
        let mut copy = std::mem::take(&mut self.indirect);
        copy.resize(place.length, 0);
        memory.gather(&[place], &mut copy).await?;
        let table = Table { bytes: &copy, indirect: true };
        let followed = self.follow(table, 0, chain);
        self.indirect = copy;
        followed.map(drop)
    }

    /// Follows a chain in a table. Returns where it goes on, if that is an indirect table.
    fn follow(
        &self,
        table: Table<'_>,
        mut index: u16,
        chain: &mut DescriptorChain,
    ) -> Result<Option<Segment>, Fault> {
        loop {
            let descriptor = table.descriptor(self.layout, index)?;
            if !table.indirect {
                chain.descriptors = chain.descriptors.saturating_add(1);
                if self.layout == Layout::Packed {
                    chain.id = descriptor.next_or_id;
                }
            }
            // Section 2.8.8: in a packed table this flag means nothing.
            let plain = self.layout == Layout::Packed && table.indirect;
            if descriptor.has(VRING_DESC_F_INDIRECT) && !plain {
                return self.indirect_table(table, &descriptor).map(Some);
            }
            self.add(&descriptor, chain)?;
            match self.next_after(table, index, &descriptor) {
                None => return Ok(None),
                Some(next) => index = next,
            }
        }
    }

    /// Where the chain goes on, unless this was its end.
    fn next_after(&self, table: Table<'_>, index: u16, descriptor: &Descriptor) -> Option<u16> {
        let following = index + 1;
        match self.layout {
            // Section 2.8.8: the flag means nothing in a table, which is all of the chain's rest.
            Layout::Packed if table.indirect => (following < table.size()).then_some(following),
            _ if !descriptor.has(VRING_DESC_F_NEXT) => None,
            Layout::Packed => Some(following % table.size()),
            Layout::Split => Some(descriptor.next_or_id),
        }
    }

    /// Where the indirect table of a descriptor is.
    fn indirect_table(&self, table: Table<'_>, descriptor: &Descriptor) -> Result<Segment, Fault> {
        if !self.features.contains(Features::INDIRECT_DESC) {
            return Err(Fault::IndirectNotAgreed);
        }
        if table.indirect || descriptor.has(VRING_DESC_F_NEXT) {
            return Err(Fault::IndirectNested);
        }
        let length = descriptor.length as usize;
        let descriptors = length / DESCRIPTOR_SIZE;
        let whole = length % DESCRIPTOR_SIZE == 0;
        if !whole || descriptors == 0 || descriptors > usize::from(self.queue_size) {
            let bytes = descriptor.length;
            return Err(Fault::IndirectLength { bytes, size: self.queue_size });
        }
        Ok(Segment { address: descriptor.address, length })
    }

    fn add(&self, descriptor: &Descriptor, chain: &mut DescriptorChain) -> Result<(), Fault> {
        let writable = descriptor.has(VRING_DESC_F_WRITE);
        if chain.buffers.len() >= usize::from(self.queue_size) {
            return Err(Fault::ChainTooLong(self.queue_size));
        }
        if !writable && chain.buffers.last().is_some_and(|last| last.writable) {
            return Err(Fault::BufferOrder);
        }
        let Descriptor { address, length, .. } = *descriptor;
        chain.buffers.push(Buffer { address, length, writable });
        Ok(())
    }
}

impl Table<'_> {
    /// Descriptors in it.
    fn size(&self) -> u16 {
        u16::try_from(self.bytes.len() / DESCRIPTOR_SIZE).unwrap_or(u16::MAX)
    }

    fn descriptor(&self, layout: Layout, index: u16) -> Result<Descriptor, Fault> {
        let bytes = self.bytes.get(usize::from(index) * DESCRIPTOR_SIZE..);
        let descriptor = bytes.and_then(|bytes| Descriptor::read(layout, bytes));
        descriptor.ok_or(Fault::NoSuchDescriptor { index, size: self.size() })
    }
}

#[cfg(test)]
mod tests;
