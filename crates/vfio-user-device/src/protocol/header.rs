//! The header of a message, and the commands.

use bitflags::bitflags;
use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a message header.
pub const HEADER_SIZE: usize = size_of::<Header>();

/// First 16 bytes of every message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// Chosen by the sender of a command, repeated in the reply.
    pub id: u16,
    /// See [`Command`].
    pub command: u16,
    /// Bytes of the whole message, header included.
    pub size: u32,
    /// See [`HeaderFlags`].
    pub flags: u32,
    /// An errno, valid in a reply that has [`HeaderFlags::ERROR`].
    pub error: u32,
}

bitflags! {
    /// Flags of a message header; bits 0 to 3 are the message's type.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HeaderFlags: u32 {
        /// The message is a reply; without any type bit it is a command.
        const REPLY = 1 << 0;
        /// All bits of the type.
        const TYPE_MASK = 0xf;
        /// The sender wants no reply, not even an error.
        const NO_REPLY = 1 << 4;
        /// The reply reports a failure.
        const ERROR = 1 << 5;
    }
}

impl Header {
    /// Flags with unknown bits kept.
    pub fn flags(&self) -> HeaderFlags {
        HeaderFlags::from_bits_retain(self.flags)
    }

    /// Whether the type bits say "command".
    pub fn is_command(&self) -> bool {
        !self.flags().intersects(HeaderFlags::TYPE_MASK)
    }

    /// Whether the type bits say "reply".
    pub fn is_reply(&self) -> bool {
        self.flags() & HeaderFlags::TYPE_MASK == HeaderFlags::REPLY
    }

    /// Whether the sender wants an answer.
    pub fn wants_reply(&self) -> bool {
        !self.flags().contains(HeaderFlags::NO_REPLY)
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// The protocol's commands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Command {
            $($(#[$doc])* $name = $number,)*
        }

        impl Command {
            /// The command with this number on the wire.
            pub fn from_wire(number: u16) -> Option<Command> {
                match number {
                    $($number => Some(Command::$name),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    /// Negotiates protocol version and capabilities; the first message of a client.
    Version = 1,
    /// Announces a region of guest memory, with a file descriptor if it can be mapped.
    DmaMap = 2,
    /// Takes a region of guest memory back.
    DmaUnmap = 3,
    /// Asks for the number of regions and interrupt indexes.
    DeviceGetInfo = 4,
    /// Asks for a region's size, flags and capabilities.
    DeviceGetRegionInfo = 5,
    /// Asks for ioeventfds of a region.
    DeviceGetRegionIoFds = 6,
    /// Asks for an interrupt index's number of vectors and flags.
    DeviceGetIrqInfo = 7,
    /// Sets eventfds, masks, unmasks or triggers interrupts.
    DeviceSetIrqs = 8,
    /// Reads from a region.
    RegionRead = 9,
    /// Writes to a region.
    RegionWrite = 10,
    /// Server to client: reads guest memory.
    DmaRead = 11,
    /// Server to client: writes guest memory.
    DmaWrite = 12,
    /// Resets the device.
    DeviceReset = 13,
    /// Several small region writes in one message.
    RegionWriteMulti = 15,
    /// Gets, sets or probes a device feature (migration, dirty page logging).
    DeviceFeature = 16,
    /// Reads migration data.
    MigDataRead = 17,
    /// Writes migration data.
    MigDataWrite = 18,
}

/// The header of a reply with a payload of so many bytes.
pub(crate) fn reply_header(command: &Header, payload: usize) -> Header {
    Header {
        // Replies are no longer than the longest message.
        size: u32::try_from(HEADER_SIZE + payload).unwrap_or(u32::MAX),
        flags: HeaderFlags::REPLY.bits(),
        error: 0,
        ..*command
    }
}

/// The header of an error reply, which is all of it.
pub(crate) fn error_header(command: &Header, errno: Errno) -> Header {
    Header {
        flags: (HeaderFlags::REPLY | HeaderFlags::ERROR).bits(),
        error: errno.raw_os_error().unsigned_abs(),
        ..reply_header(command, 0)
    }
}
