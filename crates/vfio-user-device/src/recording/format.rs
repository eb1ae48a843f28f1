//! The bytes of a recording. `docs/recording.md` has the same as a page for people.
//!
//! A file is a [`FileHead`] and then records. A record is a [`RecordHead`], a body that depends on its
//! kind, bytes that belong to it, and zeros up to the next multiple of 8. All numbers are little
//! endian. Readers skip records of a kind that they do not know.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes, Unaligned};

/// The first bytes of a recording.
pub(super) const MAGIC: [u8; 8] = *b"VFUSRREC";
/// The layout that is described here. A reader refuses another one.
pub(super) const VERSION: u16 = 1;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// Most bytes that are kept of a message's payload, or of an access to guest memory.
pub const MAX_KEPT: usize = 4096;
/// Most bytes of a record that a reader believes.
pub(super) const MAX_RECORD: usize = 16 << 20;

/// The beginning of a file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FileHead {
    pub magic: [u8; 8],
    pub version: U16,
    /// Bytes of this head.
    pub size: U16,
    pub reserved: U32,
    /// The time of day at the beginning, in nanoseconds since 1970.
    pub time_of_day: U64,
    /// The monotonic clock at that moment, in nanoseconds.
    pub monotonic: U64,
}

/// The beginning of a record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RecordHead {
    /// The monotonic clock in nanoseconds.
    pub time: U64,
    /// Bytes of the whole record, this head and the zeros at its end included.
    pub length: U32,
    /// Which client's session it belongs to.
    pub session: U32,
    /// See [`Kind`].
    pub kind: U16,
    /// What else there is to say, by kind.
    pub detail: U16,
    /// Bytes behind the head without the zeros.
    pub size: U32,
}

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes)]
#[repr(u16)]
pub(super) enum Kind {
    /// A client has connected. JSON: the device, its registers, its state.
    Begin = 1,
    /// It has gone. Text: why.
    End = 2,
    /// A command of the client with its reply: [`MessageBody`], both payloads.
    Message = 3,
    /// An access to guest memory, detail 0 a read and 1 a write: [`MemoryBody`], the bytes.
    Memory = 4,
    /// An interrupt, detail its index: [`InterruptBody`].
    Interrupt = 5,
    /// A timer of the device has fired: its number, 4 bytes. Detail 1: a task wakes up.
    Timer = 6,
    /// The device's waker was used.
    Wake = 7,
    /// Records of this session that had no room: their number, 8 bytes.
    Dropped = 8,
    /// The recording ends before the program. Text: why.
    Stopped = 9,
}

impl Kind {
    /// The kind with this number.
    pub fn from_number(number: u16) -> Option<Kind> {
        Kind::try_read_from_bytes(number.as_bytes()).ok()
    }
}

/// A command and its reply.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MessageBody {
    /// The command's header, as it was on the socket.
    pub command: [u8; 16],
    /// The reply's; zeros where there was none.
    pub reply: [u8; 16],
    /// Nanoseconds from the command to its reply.
    pub duration: U32,
    /// File descriptors that came with the command.
    pub fds: U32,
    /// Bytes of the command's payload that follow.
    pub command_kept: U32,
    /// Bytes of the reply's payload that follow those.
    pub reply_kept: U32,
}

/// An access to guest memory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct MemoryBody {
    /// Where.
    pub address: U64,
    /// How many bytes. Fewer may follow.
    pub count: U32,
    /// 1 when the client was asked by a message.
    pub by_message: U16,
    /// That message's number.
    pub id: U16,
    /// The errno of the client's refusal, or 0.
    pub error: U32,
    pub reserved: U32,
}

/// An interrupt.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct InterruptBody {
    pub vector: U32,
    /// 0: the client's eventfd was signalled; 1: the device asserts the pin; 2: it takes that back.
    pub state: U32,
}

const _: () = assert!(size_of::<FileHead>() == 32);
const _: () = assert!(size_of::<RecordHead>() == 24);
const _: () = assert!(size_of::<MessageBody>() == 48);
const _: () = assert!(size_of::<MemoryBody>() == 24);
const _: () = assert!(size_of::<InterruptBody>() == 8);
