//! The packed virtqueue, section 2.8: one ring, in which requests come and are answered in place.
//!
//! ```text
//!   start ─> Starting
//!                 v
//!  notify ─> ReadingFlags ─> ReadingDescriptors ─> Serving ─> (the device)
//!                 ^                                               │ answer
//!                 └────── ReadingEvent <────── Answering <────────┘
//! ```
//!
//! A descriptor's flags say whose it is: each side turns a bit when it has been once round the
//! ring, and compares. They are read before the rest of a descriptor, and written after it.

use std::mem;

use vfio_user_kit::{DmaError, GuestMemory};
use virtio_bindings::virtio_ring::{
    VRING_DESC_F_WRITE, VRING_PACKED_DESC_F_AVAIL, VRING_PACKED_DESC_F_USED,
    VRING_PACKED_EVENT_F_WRAP_CTR, VRING_PACKED_EVENT_FLAG_DESC, VRING_PACKED_EVENT_FLAG_ENABLE,
};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::super::chain::{ChainReader, DESCRIPTOR_SIZE, Followed, Request};
use super::super::fault::Fault;
use super::super::flags::Features;
use super::{Answer, Areas, Progress, TAG, Virtqueue};

/// What the driver area's address is a multiple of, in bytes (section 2.8).
pub const EVENT_ALIGNMENT: u32 = 4;

/// Where length and flags are in a descriptor, section 2.8.13.
const LENGTH_OFFSET: u64 = 8;
const FLAGS_OFFSET: u64 = 14;

/// A flag of a descriptor by its bit's number; all of them fit.
const fn flag(bit: u32) -> u16 {
    1 << bit
}
const AVAILABLE: u16 = flag(VRING_PACKED_DESC_F_AVAIL);
const USED: u16 = flag(VRING_PACKED_DESC_F_USED);

/// The part of a descriptor that an answer replaces, but for its flags.
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

/// What is under way.
#[derive(Debug)]
enum Stage {
    /// Nothing: every request is answered.
    Idle,
    /// Notifications are being asked for.
    Starting,
    ReadingFlags,
    ReadingDescriptors(ChainReader),
    /// The device has the request.
    Serving(Request),
    Answering {
        descriptors: u16,
    },
    /// The driver may want an interrupt for the answer that was from here to the place for the next.
    ReadingEvent {
        answered: Place,
        descriptors: u16,
    },
}

/// A packed queue that its driver has enabled.
#[derive(Debug)]
pub struct PackedQueue {
    areas: Areas,
    features: Features,
    /// Where the next request will be.
    available: Place,
    /// Where the next answer goes.
    used: Place,
    /// The driver has notified since the next request was looked for.
    notified: bool,
    stage: Stage,
}

impl PackedQueue {
    /// A queue at areas that have been checked.
    pub fn new(areas: Areas, features: Features) -> Self {
        PackedQueue {
            areas,
            features,
            available: Place::START,
            used: Place::START,
            notified: false,
            stage: Stage::Idle,
        }
    }

    fn descriptor(&self, place: Place) -> u64 {
        let offset = u64::from(place.index) * DESCRIPTOR_SIZE as u64;
        self.areas.descriptors.saturating_add(offset)
    }

    fn read_flags(&mut self, memory: &mut dyn GuestMemory) -> Result<(), Fault> {
        self.notified = false;
        let address = self.descriptor(self.available).saturating_add(FLAGS_OFFSET);
        memory.dma_read(address, size_of::<U16>(), TAG)?;
        self.stage = Stage::ReadingFlags;
        Ok(())
    }

    /// Begins with the next request if the flags of its first descriptor say that it is there.
    fn look_for_request(&mut self, memory: &mut dyn GuestMemory, flags: u16) -> Result<(), Fault> {
        let wrap = self.available.wrap;
        if (flags & AVAILABLE != 0) == wrap && (flags & USED != 0) != wrap {
            let Areas { size, descriptors, .. } = self.areas;
            let chain = ChainReader::new(self.features, size, descriptors, self.available.index)?;
            self.read_descriptors(memory, chain)
        } else if self.notified {
            self.read_flags(memory)
        } else {
            Ok(())
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

    /// The flags that give the next answer's descriptor back to the driver.
    fn used_flags(&self, written: bool) -> u16 {
        let turn = if self.used.wrap { AVAILABLE | USED } else { 0 };
        // The flag's value is 2.
        let write = if written { VRING_DESC_F_WRITE.to_le_bytes()[0].into() } else { 0 };
        turn | write
    }

    /// Whether the driver wants to hear of the answer at that place, which took so many
    /// descriptors, section 2.8.14.
    fn wants_interrupt(&self, event: &EventSuppression, answered: Place, descriptors: u16) -> bool {
        let flags = u32::from(event.flags.get());
        if flags != VRING_PACKED_EVENT_FLAG_DESC || !self.features.contains(Features::EVENT_IDX) {
            return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
        }
        let (place, wrap) = (event.place.get(), flag(VRING_PACKED_EVENT_F_WRAP_CTR));
        let this_lap = (place & wrap != 0) == answered.wrap;
        let index = u32::from(place & !wrap) + if this_lap { 0 } else { self.areas.size.into() };
        let first = u32::from(answered.index);
        (first..first + u32::from(descriptors)).contains(&index)
    }
}

impl Virtqueue for PackedQueue {
    fn start(&mut self, memory: &mut dyn GuestMemory) -> Result<(), Fault> {
        // "Always", which is what 0 means.
        memory.dma_write(self.areas.device, vec![0; size_of::<EventSuppression>()], TAG)?;
        self.stage = Stage::Starting;
        Ok(())
    }

    fn notify(&mut self, memory: &mut dyn GuestMemory) -> Result<(), Fault> {
        self.notified = true;
        match self.stage {
            Stage::Idle => self.read_flags(memory),
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
        let answer = Answer::new(&request, bytes);
        let length = answer.length();
        let element = UsedElement { written: U32::new(length), id: U16::new(request.id) };
        let descriptor = self.descriptor(self.used);
        let flags = self.used_flags(length > 0).to_le_bytes();
        answer
            .then(descriptor.saturating_add(LENGTH_OFFSET), element.as_bytes())
            .then(descriptor.saturating_add(FLAGS_OFFSET), &flags)
            .write(memory)?;
        self.stage = Stage::Answering { descriptors: request.descriptors };
        Ok(())
    }

    fn dma_done(
        &mut self,
        memory: &mut dyn GuestMemory,
        result: Result<Vec<u8>, DmaError>,
    ) -> Result<Progress, Fault> {
        let bytes = result?;
        match mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Starting => self.read_flags(memory)?,
            Stage::ReadingFlags => {
                let flags = U16::read_from_bytes(&bytes).map_or(0, U16::get);
                self.look_for_request(memory, flags)?;
            }
            Stage::ReadingDescriptors(chain) => match chain.follow(&bytes)? {
                Followed::Further(chain) => self.read_descriptors(memory, chain)?,
                Followed::Whole(request) => {
                    self.available.advance(request.descriptors, self.areas.size);
                    self.stage = Stage::Serving(request);
                    return Ok(Progress::Request);
                }
            },
            Stage::Answering { descriptors } => {
                let answered = self.used;
                self.used.advance(descriptors, self.areas.size);
                memory.dma_read(self.areas.driver, size_of::<EventSuppression>(), TAG)?;
                self.stage = Stage::ReadingEvent { answered, descriptors };
                return Ok(Progress::Written(bytes));
            }
            Stage::ReadingEvent { answered, descriptors } => {
                self.read_flags(memory)?;
                let event = EventSuppression::read_from_bytes(&bytes);
                if event.is_ok_and(|event| self.wants_interrupt(&event, answered, descriptors)) {
                    return Ok(Progress::Interrupt);
                }
            }
            // No access is under way in these.
            stage @ (Stage::Idle | Stage::Serving(_)) => self.stage = stage,
        }
        Ok(Progress::None)
    }
}
