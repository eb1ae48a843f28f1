//! The packed virtqueue, section 2.8: one ring, in which chains come and are completed in place.
//!
//! A descriptor's flags say whose it is: each side turns a bit when it has been once round the
//! ring, and compares. They are read before the rest of a descriptor, and written after it.

use vfio_user_device::{GuestMemory, Segment};
use virtio_bindings::virtio_ring::{
    VRING_DESC_F_WRITE, VRING_PACKED_DESC_F_AVAIL, VRING_PACKED_DESC_F_USED,
    VRING_PACKED_EVENT_F_WRAP_CTR, VRING_PACKED_EVENT_FLAG_DESC, VRING_PACKED_EVENT_FLAG_ENABLE,
};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::super::chain::{DESCRIPTOR_SIZE, DescriptorChain};
use super::super::fault::Fault;
use super::super::flags::Features;
use super::{RingAddresses, Write, segment};

/// Where length and flags are in a descriptor, section 2.8.13.
const LENGTH_OFFSET: u64 = 8;
const FLAGS_OFFSET: u64 = 14;

/// A flag of a descriptor by its bit's number; all of them fit.
const fn flag(bit: u32) -> u16 {
    1 << bit
}
const AVAILABLE: u16 = flag(VRING_PACKED_DESC_F_AVAIL);
const USED: u16 = flag(VRING_PACKED_DESC_F_USED);

/// The part of a descriptor that a completion replaces, but for its flags.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct UsedElement {
    written: U32,
    id: U16,
}

/// When the driver wants to be interrupted, section 2.8.14.
#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct EventSuppression {
    place: U16,
    flags: U16,
}

/// Bytes of it.
const EVENT_LEN: usize = size_of::<EventSuppression>();
/// What a copy of the ring begins with: that, and the flags of the next descriptor.
const PREFIX_LEN: usize = EVENT_LEN + size_of::<U16>();

/// A place in the ring, and whether the laps before it are even or odd in number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    index: u16,
    wrap: bool,
}

impl Place {
    const START: Place = Place { index: 0, wrap: true };

    fn advance(&mut self, count: u16, size: u16) {
        self.index += count;
        if self.index >= size {
            self.index -= size;
            self.wrap = !self.wrap;
        }
    }
}

/// The ring of a packed queue.
#[derive(Debug)]
pub struct PackedRing {
    addresses: RingAddresses,
    features: Features,
    /// Where the next chain will be.
    available: Place,
    /// Where the next completion goes.
    used: Place,
    /// Where the last completion is, and how many descriptors its chain took up.
    completed: (Place, u16),
    /// What was read last: when the driver wants interrupts, the flags of the next descriptor, and
    /// then all descriptors, which are at least as new as those flags.
    copy: Vec<u8>,
}

impl PackedRing {
    /// A ring at addresses that have been checked.
    pub fn new(addresses: RingAddresses, features: Features) -> Self {
        PackedRing {
            addresses,
            features,
            available: Place::START,
            used: Place::START,
            completed: (Place::START, 0),
            copy: vec![0; PREFIX_LEN + addresses.table_len()],
        }
    }

    /// Goes on with the chain and the completion at that place. The place lies in the ring.
    pub fn go_on_at(&mut self, index: u16, wrap: bool) {
        let place = Place { index: index % self.addresses.size.max(1), wrap };
        (self.available, self.used) = (place, place);
    }

    /// Goes on behind the completion of a chain of so many descriptors if its first one says already
    /// that it is used. Returns whether it does.
    pub async fn skip_completed(
        &mut self,
        memory: &impl GuestMemory,
        descriptors: u16,
    ) -> Result<bool, Fault> {
        let mut flags = [0; size_of::<U16>()];
        let place = self.descriptor(self.used).saturating_add(FLAGS_OFFSET);
        memory.gather(&[segment(place, flags.len())], &mut flags).await?;
        let flags = u16::from_le_bytes(flags);
        let turn = (flags & AVAILABLE != 0, flags & USED != 0);
        let completed = turn == (self.used.wrap, self.used.wrap);
        if completed {
            let descriptors = descriptors.min(self.addresses.size);
            self.used.advance(descriptors, self.addresses.size);
            self.available = self.used;
        }
        Ok(completed)
    }

    /// Place of the next completion.
    pub fn used(&self) -> (u16, bool) {
        (self.used.index, self.used.wrap)
    }

    fn descriptor(&self, place: Place) -> u64 {
        let offset = u64::from(place.index) * DESCRIPTOR_SIZE as u64;
        self.addresses.descriptors.saturating_add(offset)
    }

    /// Asks for a notification of every chain, which is what 0 means.
    pub async fn ask_for_notifications(&self, memory: &impl GuestMemory) -> Result<(), Fault> {
        let place = segment(self.addresses.device, EVENT_LEN);
        Ok(memory.scatter(&[place], &[0; EVENT_LEN]).await?)
    }

    /// Copies the ring. Returns the first descriptor of the next chain, if there is one.
    pub async fn look(&mut self, memory: &impl GuestMemory) -> Result<Option<u16>, Fault> {
        let [event, flags] = self.prefix();
        let table = segment(self.addresses.descriptors, self.addresses.table_len());
        memory.gather(&[event, flags, table], &mut self.copy).await?;
        Ok(self.is_available().then_some(self.available.index))
    }

    /// Writes a completion, and copies what the ring's copy begins with then. Returns whether there is a
    /// chain to look for.
    pub async fn publish(
        &mut self,
        memory: &impl GuestMemory,
        (places, data): (&[Segment], &[u8]),
    ) -> Result<bool, Fault> {
        let prefix = self.prefix();
        let copy = self.copy.get_mut(..PREFIX_LEN).unwrap_or_default();
        memory.scatter_then_gather(places, data, &prefix, copy).await?;
        Ok(self.is_available())
    }

    fn prefix(&self) -> [Segment; 2] {
        let flags = self.descriptor(self.available).saturating_add(FLAGS_OFFSET);
        [segment(self.addresses.driver, EVENT_LEN), segment(flags, size_of::<U16>())]
    }

    /// Whether the flags in the copy say that there is a chain.
    fn is_available(&self) -> bool {
        let flags = self.copy.get(EVENT_LEN..).and_then(|copy| U16::read_from_prefix(copy).ok());
        let flags = flags.map_or(0, |(flags, _)| flags.get());
        let wrap = self.available.wrap;
        (flags & AVAILABLE != 0) == wrap && (flags & USED != 0) != wrap
    }

    /// The copy of the descriptors.
    pub fn table(&self) -> &[u8] {
        self.copy.get(PREFIX_LEN..).unwrap_or_default()
    }

    /// That chain is taken.
    pub fn take(&mut self, chain: &DescriptorChain) {
        self.available.advance(chain.descriptors, self.addresses.size);
    }

    /// Adds the completion of a chain to the bytes that are written for it.
    pub fn complete(&mut self, chain: &DescriptorChain, written: u32, write: &mut Write<'_>) {
        let element = UsedElement { written: U32::new(written), id: U16::new(chain.id) };
        let descriptor = self.descriptor(self.used);
        write.add(descriptor.saturating_add(LENGTH_OFFSET), element.as_bytes());
        let flags = self.used_flags(written > 0).to_le_bytes();
        write.add(descriptor.saturating_add(FLAGS_OFFSET), &flags);
        self.completed = (self.used, chain.descriptors);
        self.used.advance(chain.descriptors, self.addresses.size);
    }

    /// The flags that give the next completion's descriptor back to the driver.
    fn used_flags(&self, written: bool) -> u16 {
        let turn = if self.used.wrap { AVAILABLE | USED } else { 0 };
        // The flag's value is 2.
        let write = if written { VRING_DESC_F_WRITE.to_le_bytes()[0].into() } else { 0 };
        turn | write
    }

    /// Whether the driver wants to hear of the last completion, section 2.8.14.
    pub fn wants_interrupt(&self) -> bool {
        let Ok((event, _)) = EventSuppression::read_from_prefix(&self.copy) else { return false };
        let flags = u32::from(event.flags.get());
        if flags != VRING_PACKED_EVENT_FLAG_DESC || !self.features.contains(Features::EVENT_IDX) {
            return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
        }
        let (completed, descriptors) = self.completed;
        let (place, wrap) = (event.place.get(), flag(VRING_PACKED_EVENT_F_WRAP_CTR));
        let this_lap = (place & wrap != 0) == completed.wrap;
        let size = u32::from(self.addresses.size);
        let index = u32::from(place & !wrap) + if this_lap { 0 } else { size };
        let first = u32::from(completed.index);
        (first..first + u32::from(descriptors)).contains(&index)
    }
}
