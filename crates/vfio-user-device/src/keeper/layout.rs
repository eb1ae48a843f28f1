//! Where what is in a state page.
//!
//! ```text
//!   head       the commit word: which copy of each part counts, and the journal's epoch
//!   journal    what was received and is not carried out yet; the answer that is being sent
//!   parts      each twice: the copy that counts, and the one that is being written
//! ```
//!
//! A part has a small place, where it nearly always fits, and a large one that takes no memory until it
//! is used.

use std::ops::Range;

use crate::protocol::wire::MAX_MESSAGE_SIZE;

/// Says that a page is one of this layout.
pub(super) const MAGIC: u64 = 0x7666_696f_0001_7067;

/// Bytes of the head.
pub(super) const HEAD: usize = 4096;
pub(super) const MAGIC_OFFSET: usize = 0;
pub(super) const COMMIT: usize = 8;
pub(super) const INSIDE: usize = 16;
pub(super) const CRASHES: usize = 20;
pub(super) const UNKEPT: usize = 24;
/// Lengths of the parts' copies.
const LENGTHS: usize = 64;
/// In a length: the copy is in its large place.
pub(super) const IS_LARGE: u32 = 1 << 31;

/// Most pieces in which the messages of one epoch arrive.
pub(super) const CHUNKS: usize = 64;
/// Bytes of a piece's description.
pub(super) const CHUNK_LEN: usize = 256;
pub(super) const CHUNKS_AT: usize = HEAD;
/// The two answers: the last one, and the one that is being written.
pub(super) const OUTGOING_AT: usize = CHUNKS_AT + CHUNKS * CHUNK_LEN;
/// Bytes of an answer's description.
pub(super) const OUTGOING_LEN: usize = 1024;
pub(super) const OUTGOING_DATA_AT: usize = OUTGOING_AT + 4096;
/// Longest answer that is kept.
pub(super) const MAX_OUTGOING: usize = 256 << 10;
pub(super) const INCOMING_AT: usize = OUTGOING_DATA_AT + 2 * MAX_OUTGOING;
/// Bytes of messages that arrive in one epoch.
pub(super) const MAX_INCOMING: usize = (MAX_MESSAGE_SIZE + 8192) & !4095;

const PARTS_AT: usize = INCOMING_AT + MAX_INCOMING;
const SMALL_LEN: usize = 2048;
const LARGE_AT: usize = (PARTS_AT + 2 * Part::ALL.len() * SMALL_LEN + 4095) & !4095;
const LARGE_LEN: usize = 4 << 20;
/// Bytes of a page, most of which take no memory.
pub(super) const LENGTH: usize = LARGE_AT + 2 * Part::ALL.len() * LARGE_LEN;

pub(super) const JOURNAL: Range<usize> = HEAD..PARTS_AT;
pub(super) const PARTS: Range<usize> = PARTS_AT..LENGTH;

/// The bit of the commit word that says which answer counts.
pub(super) const OUTGOING_BIT: u32 = 1 << 31;

/// What is written and counts on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The listening socket, and the client that is connected.
    Server,
    /// What was agreed on with the client; nothing without one.
    Session,
    /// Configuration space.
    Config,
    /// Interrupts and their eventfds.
    Interrupts,
    Timers,
    /// The regions of guest memory.
    Memory,
    /// The numbers of DMA messages.
    Dma,
    /// What the device says of itself.
    Device,
    /// All else about the PCI function.
    Function,
}

impl Part {
    pub const ALL: [Part; 9] = [
        Part::Server,
        Part::Session,
        Part::Config,
        Part::Interrupts,
        Part::Timers,
        Part::Memory,
        Part::Dma,
        Part::Device,
        Part::Function,
    ];

    /// The bit of the commit word that says which copy counts.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }

    const fn number(self, copy: usize) -> usize {
        2 * self as usize + copy
    }

    /// Where the length of a copy is.
    pub(super) const fn length_at(self, copy: usize) -> usize {
        LENGTHS + 4 * self.number(copy)
    }

    /// The small place of a copy.
    pub(super) const fn small(self, copy: usize) -> Range<usize> {
        let start = PARTS_AT + self.number(copy) * SMALL_LEN;
        start..start + SMALL_LEN
    }

    /// The large place of a copy.
    pub(super) const fn large(self, copy: usize) -> Range<usize> {
        let start = LARGE_AT + self.number(copy) * LARGE_LEN;
        start..start + LARGE_LEN
    }
}

const _: () = assert!(LENGTHS + 8 * Part::ALL.len() <= HEAD);
