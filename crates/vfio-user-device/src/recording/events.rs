//! What a recording tells, as values.

use serde::{Deserialize, Serialize};
use zerocopy::FromBytes;

use crate::protocol::wire::{
    CONFIG_REGION, Command, Header, HeaderFlags, RegionAccess, RegionWriteEntry,
};
use crate::state::DeviceState;

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Nanoseconds since the file was begun.
    pub time: u64,
    /// The session, counted from 1 on in the order of their beginnings; 0 for the program.
    pub session: u32,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A client has connected.
    Begin(Box<SessionInfo>),
    /// It has gone, for this reason.
    End(String),
    /// It has sent a message, and was answered.
    Message(Message),
    /// The device has accessed guest memory.
    Memory(MemoryAccess),
    /// The device has interrupted the guest, or drives its pin.
    Interrupt(Interrupt),
    /// A timer of the device has fired: its number. Without one, a task has slept long enough.
    Timer(Option<u32>),
    /// The device's waker was used.
    Wake,
    /// So many records had no room.
    Dropped(u64),
    /// The recording has ended before the program, for this reason.
    Stopped(String),
}

/// A client, and the device that it gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionInfo {
    /// Name of the server: its socket.
    pub server: String,
    /// The client's process, if that is known.
    pub process: Option<i32>,
    /// Another process has served the client until now.
    pub resumed: bool,
    /// What the program calls the device, and what it was told. Its own affair.
    pub device: serde_json::Value,
    /// PCI vendor id.
    pub vendor: u16,
    /// PCI device id.
    pub device_id: u16,
    /// The BARs that there are.
    pub bars: Vec<RecordedBar>,
    /// What the device said of itself, if it can be saved.
    pub state: Option<DeviceState>,
}

/// A BAR of a recorded device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedBar {
    /// Its number, 0 to 5.
    pub number: u32,
    /// Its size in bytes.
    pub size: u64,
    /// The widest access that the device sees, in bytes.
    pub max_access_width: usize,
    /// Its named registers.
    pub registers: Vec<RecordedRegister>,
}

/// A named register.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedRegister {
    /// As in the device's documentation.
    pub name: String,
    /// Offset in the BAR.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
}

/// A command of the client, and its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The command's header, as it was on the socket.
    pub command: [u8; 16],
    /// Its payload, at most [`MAX_KEPT`](super::MAX_KEPT) bytes of it.
    pub payload: Vec<u8>,
    /// Descriptors that came with it.
    pub fds: u32,
    /// The reply's header and payload; none for a posted command.
    pub reply: Option<([u8; 16], Vec<u8>)>,
    /// Nanoseconds until the reply was ready.
    pub duration: u32,
}

/// An access of the device to guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryAccess {
    /// Guest memory was written.
    pub is_write: bool,
    /// Where.
    pub address: u64,
    /// How many bytes.
    pub count: u32,
    /// At most [`MAX_KEPT`](super::MAX_KEPT) of them.
    pub data: Vec<u8>,
    /// The number of the message, if the client was asked.
    pub message: Option<u16>,
    /// The errno of the client's refusal, or 0.
    pub error: u32,
}

/// An interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// What it goes by.
    pub kind: InterruptKind,
    /// Which one of them.
    pub vector: u32,
    /// Only the pin's level has changed; nothing was sent. True: asserted.
    pub level: Option<bool>,
}

/// What an interrupt goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterruptKind {
    /// The pin.
    Intx,
    /// MSI.
    Msi,
    /// MSI-X.
    Msix,
    /// Another index of the protocol.
    Other(u16),
}

/// An access to a region in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionEvent {
    /// The region was written.
    pub is_write: bool,
    /// The region: a BAR's number, or that of configuration space.
    pub region: u32,
    /// Offset in it.
    pub offset: u64,
    /// Bytes that were wanted.
    pub count: u32,
    /// Those that were read or written, as far as they were kept.
    pub data: Vec<u8>,
    /// The errno of a refusal, or 0.
    pub error: u32,
}

impl RegionEvent {
    /// Whether it is for configuration space.
    pub fn is_config(&self) -> bool {
        self.region == CONFIG_REGION
    }
}

impl Message {
    /// The command's header.
    pub fn header(&self) -> Header {
        zerocopy::transmute!(self.command)
    }

    /// The reply's header.
    pub fn reply_header(&self) -> Option<Header> {
        let (header, _) = self.reply.as_ref()?;
        Some(zerocopy::transmute!(*header))
    }

    /// What it asks for, if that is known.
    pub fn command(&self) -> Option<Command> {
        Command::from_wire(self.header().command)
    }

    /// The errno of its reply, or 0.
    pub fn error(&self) -> u32 {
        let header = self.reply_header();
        header.filter(|header| header.flags().contains(HeaderFlags::ERROR)).map_or(0, |it| it.error)
    }

    /// The accesses to regions that it carries out.
    pub fn region_accesses(&self) -> Vec<RegionEvent> {
        match self.command() {
            Some(Command::RegionRead) => self.region_access(false).into_iter().collect(),
            Some(Command::RegionWrite) => self.region_access(true).into_iter().collect(),
            Some(Command::RegionWriteMulti) => self.writes(),
            _ => Vec::new(),
        }
    }

    fn region_access(&self, is_write: bool) -> Option<RegionEvent> {
        let size = size_of::<RegionAccess>();
        let (access, _) = RegionAccess::read_from_prefix(&self.payload).ok()?;
        let from = if is_write { Some(&self.payload) } else { self.reply.as_ref().map(|it| &it.1) };
        let data = from.and_then(|bytes| bytes.get(size..)).unwrap_or_default().to_vec();
        let RegionAccess { offset, region, count } = access;
        Some(RegionEvent { is_write, region, offset, count, data, error: self.error() })
    }

    fn writes(&self) -> Vec<RegionEvent> {
        let entries = self.payload.get(8..).unwrap_or_default();
        let entries = entries.chunks_exact(size_of::<RegionWriteEntry>());
        let entries = entries.filter_map(|bytes| RegionWriteEntry::read_from_bytes(bytes).ok());
        entries
            .map(|RegionWriteEntry { offset, region, count, data }| {
                let data = data.get(..count as usize).unwrap_or(&data).to_vec();
                RegionEvent { is_write: true, region, offset, count, data, error: self.error() }
            })
            .collect()
    }
}

impl SessionInfo {
    /// The BAR with this number.
    pub fn bar(&self, number: u32) -> Option<&RecordedBar> {
        self.bars.iter().find(|bar| bar.number == number)
    }

    /// The register at an offset: its name, and "+2" behind its first byte.
    pub fn register(&self, bar: u32, offset: u64) -> Option<String> {
        let inside = |register: &&RecordedRegister| {
            offset >= register.offset && offset - register.offset < register.size
        };
        let register = self.bar(bar)?.registers.iter().find(inside)?;
        let name = &register.name;
        Some(match offset - register.offset {
            0 => name.clone(),
            within => format!("{name}+{within}"),
        })
    }
}
