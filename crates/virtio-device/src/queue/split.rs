//! The split virtqueue, section 2.7: chains come in the available ring and are completed in the used
//! ring.

use std::mem;

use vfio_user_device::{GuestMemory, Segment};
use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::super::chain::DescriptorChain;
use super::super::fault::Fault;
use super::super::flags::Features;
use super::{RingAddresses, Write, segment};

/// The start of the available ring.
#[derive(FromBytes, KnownLayout, Immutable)]
#[repr(C)]
struct AvailableHead {
    flags: U16,
    index: U16,
}

/// An entry of the used ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
struct UsedElement {
    head: U32,
    written: U32,
}

/// Bytes of the available ring's start.
const HEAD_LEN: usize = size_of::<AvailableHead>();
/// Bytes of an entry of the used ring.
const ELEMENT_LEN: usize = size_of::<UsedElement>();

/// The rings of a split queue.
#[derive(Debug)]
pub struct SplitRing {
    addresses: RingAddresses,
    features: Features,
    /// Number of the next chain, counted modulo 2^16.
    next_available: u16,
    /// Number of the next completion.
    next_used: u16,
    /// What was read last: the available ring's start, then the descriptor table, then the whole
    /// available ring. Entries up to the index at the start are at least as new as that.
    copy: Vec<u8>,
    /// The entries of the used ring as they are in guest memory, and the index at which the device
    /// wants to be notified.
    used: Vec<u8>,
    /// Another device has written entries of the used ring.
    goes_on: bool,
}

impl SplitRing {
    /// The rings at addresses that have been checked.
    pub fn new(addresses: RingAddresses, features: Features) -> Self {
        let ring = HEAD_LEN + 2 * usize::from(addresses.size) + size_of::<U16>();
        let copy = vec![0; HEAD_LEN + addresses.table_len() + ring];
        let used = vec![0; ELEMENT_LEN * usize::from(addresses.size) + size_of::<U16>()];
        let (next_available, next_used, goes_on) = (0, 0, false);
        SplitRing { addresses, features, next_available, next_used, copy, used, goes_on }
    }

    /// Goes on with the chain and the completion of that number.
    pub fn go_on_at(&mut self, number: u16) {
        (self.next_available, self.next_used, self.goes_on) = (number, number, true);
    }

    /// Goes on behind the next completion if that is in the used ring already. Returns whether it is.
    pub async fn skip_completed(&mut self, memory: &impl GuestMemory) -> Result<bool, Fault> {
        let mut index = [0; size_of::<U16>()];
        let place = segment(self.addresses.device.saturating_add(2), index.len());
        memory.gather(&[place], &mut index).await?;
        let next = self.next_used.wrapping_add(1);
        let completed = u16::from_le_bytes(index) == next;
        if completed {
            self.go_on_at(next);
        }
        Ok(completed)
    }

    /// Number of the next completion.
    pub fn used(&self) -> u16 {
        self.next_used
    }

    /// Asks for a notification of the next chain.
    pub async fn ask_for_notifications(&mut self, memory: &impl GuestMemory) -> Result<(), Fault> {
        if !self.features.contains(Features::EVENT_IDX) {
            return Ok(());
        }
        if mem::take(&mut self.goes_on) {
            // The driver may not have read all of them, and some are written once more.
            let place = segment(self.addresses.device.saturating_add(4), self.used.len());
            memory.gather(&[place], &mut self.used).await?;
        }
        let event = self.next_available.to_le_bytes();
        Ok(memory.scatter(&[segment(self.available_event(), event.len())], &event).await?)
    }

    /// Copies available ring and descriptor table. Returns the first descriptor of the next chain,
    /// if there is one.
    pub async fn look(&mut self, memory: &impl GuestMemory) -> Result<Option<u16>, Fault> {
        let RingAddresses { size, descriptors, driver, .. } = self.addresses;
        let table = self.addresses.table_len();
        let ring = self.copy.len() - HEAD_LEN - table;
        let head = segment(driver, HEAD_LEN);
        if descriptors.checked_add(table as u64) == Some(driver) {
            let rest = segment(descriptors, table + ring);
            memory.gather(&[head, rest], &mut self.copy).await?;
        } else {
            let rest = [segment(descriptors, table), segment(driver, ring)];
            memory.gather(&[head, rest[0], rest[1]], &mut self.copy).await?;
        }
        let waiting = self.count_waiting(&self.copy)?;
        let entry = HEAD_LEN + 2 * usize::from(self.next_available % size);
        let head = self.ring().get(entry..).and_then(|entry| U16::read_from_prefix(entry).ok());
        Ok(head.filter(|_| waiting > 0).map(|(head, _)| head.get()))
    }

    /// Writes a completion, and copies the available ring alone then. Returns whether there is a chain
    /// to look for: its entry may be older than the index.
    pub async fn publish(
        &mut self,
        memory: &impl GuestMemory,
        (places, data): (&[Segment], &[u8]),
    ) -> Result<bool, Fault> {
        let start = HEAD_LEN + self.addresses.table_len();
        let ring = self.copy.get_mut(start..).unwrap_or_default();
        let driver = segment(self.addresses.driver, ring.len());
        memory.scatter_then_gather(places, data, &[driver], ring).await?;
        // The next look finds what is wrong.
        Ok(self.count_waiting(self.ring()) != Ok(0))
    }

    /// How many chains are available, by a copy of the available ring's start.
    fn count_waiting(&self, ring: &[u8]) -> Result<u16, Fault> {
        let index = AvailableHead::read_from_prefix(ring);
        let (from, to) = (self.next_available, index.map_or(0, |(head, _)| head.index.get()));
        let (waiting, size) = (to.wrapping_sub(from), self.addresses.size);
        if waiting > size { Err(Fault::AvailableIndex { from, to, size }) } else { Ok(waiting) }
    }

    /// The copy of the descriptor table.
    pub fn table(&self) -> &[u8] {
        let table = HEAD_LEN..HEAD_LEN + self.addresses.table_len();
        self.copy.get(table).unwrap_or_default()
    }

    /// The copy of the available ring.
    fn ring(&self) -> &[u8] {
        self.copy.get(HEAD_LEN + self.addresses.table_len()..).unwrap_or_default()
    }

    /// The next chain is taken.
    pub fn take(&mut self) {
        self.next_available = self.next_available.wrapping_add(1);
    }

    /// Adds the completion of a chain to the bytes that are written for it.
    pub fn complete(&mut self, chain: &DescriptorChain, written: u32, write: &mut Write<'_>) {
        let RingAddresses { size, device, .. } = self.addresses;
        let element = UsedElement { head: U32::new(chain.id.into()), written: U32::new(written) };
        let start = ELEMENT_LEN * usize::from(self.next_used % size);
        let mut end = start + ELEMENT_LEN;
        if let Some(entry) = self.used.get_mut(start..end) {
            entry.copy_from_slice(element.as_bytes());
        }
        if self.features.contains(Features::EVENT_IDX) {
            // Before the index: the look at the available ring after it then misses no chain that the
            // driver does not notify of. It is behind the last entry, so that what lies between is
            // written once more and all of it is one message.
            end = self.used.len();
            if let Some(event) = self.used.last_chunk_mut() {
                *event = self.next_available.to_le_bytes();
            }
        }
        let entries = device.saturating_add(4);
        let elements = self.used.get(start..end).unwrap_or_default();
        write.add(entries.saturating_add(start as u64), elements);
        self.next_used = self.next_used.wrapping_add(1);
        write.add(device.saturating_add(2), &self.next_used.to_le_bytes());
    }

    /// Whether the driver wants to hear of the last completion, section 2.7.7.2.
    pub fn wants_interrupt(&self) -> bool {
        if self.features.contains(Features::EVENT_IDX) {
            let event = U16::read_from_suffix(self.ring()).map_or(0, |(_, event)| event.get());
            event == self.next_used.wrapping_sub(1)
        } else {
            let flags = AvailableHead::read_from_prefix(self.ring());
            let flags = flags.map_or(0, |(head, _)| head.flags.get());
            u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0
        }
    }

    /// Where the device says at which chain it wants to be notified.
    fn available_event(&self) -> u64 {
        self.addresses.device.saturating_add(4 + 8 * u64::from(self.addresses.size))
    }
}
