//! DMA_READ and DMA_WRITE: messages that ask the client for guest memory, and its replies.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use zerocopy::FromBytes;

use crate::protocol::wire::{Command, DmaAccess, HEADER_SIZE, Header, HeaderFlags};

/// A message to the client that has not been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InFlight {
    pub id: u16,
    /// Whether it writes guest memory.
    pub write: bool,
    pub address: u64,
    pub count: usize,
}

impl InFlight {
    pub fn command(&self) -> Command {
        if self.write { Command::DmaWrite } else { Command::DmaRead }
    }

    /// Whether it touches any byte of a region.
    pub fn touches(&self, address: u64, size: u64) -> bool {
        let last = |start: u64, length: u64| start.saturating_add(length.saturating_sub(1));
        self.address <= last(address, size) && address <= last(self.address, self.count as u64)
    }
}

/// A message that has to be sent now.
#[derive(Debug)]
pub(crate) struct MessageRequest<'q> {
    pub header: Header,
    pub access: DmaAccess,
    /// What to write; empty for a read.
    pub data: &'q [u8],
}

/// The same for a client that answers later.
pub(crate) struct HeldMessage {
    /// The header of a reply.
    pub header: Header,
    pub access: DmaAccess,
    pub data: Vec<u8>,
}

impl<'q> MessageRequest<'q> {
    pub(super) fn new(message: &InFlight, data: &'q [u8]) -> Self {
        let size = HEADER_SIZE + size_of::<DmaAccess>() + data.len();
        let header = Header {
            id: message.id,
            command: message.command() as u16,
            size: u32::try_from(size).unwrap_or(u32::MAX),
            flags: 0,
            error: 0,
        };
        let access = DmaAccess { address: message.address, count: message.count as u64 };
        MessageRequest { header, access, data }
    }

    pub fn hold(&self) -> HeldMessage {
        let header = Header { flags: HeaderFlags::REPLY.bits(), ..self.header };
        HeldMessage { header, access: self.access, data: self.data.to_vec() }
    }
}

impl HeldMessage {
    /// Whether it writes guest memory.
    pub fn is_write(&self) -> bool {
        self.header.command == Command::DmaWrite as u16
    }
}

/// The data of a reply, or the errno that it amounts to.
pub(super) fn reply_data<'p>(
    sent: &InFlight,
    header: &Header,
    payload: &'p [u8],
) -> Result<&'p [u8], Errno> {
    if header.flags().contains(HeaderFlags::ERROR) {
        // An errno that makes no sense becomes one that does.
        let plausible = i32::try_from(header.error).ok().filter(|errno| (1..4096).contains(errno));
        return Err(plausible.map_or(Errno::INVAL, Errno::from_raw_os_error));
    }
    if header.command != sent.command() as u16 {
        return Err(Errno::PROTO);
    }
    if sent.write && is_short_reply(sent, payload) {
        return Ok(&[]);
    }
    let (access, data) = DmaAccess::read_from_prefix(payload).map_err(|_| Errno::PROTO)?;
    let wanted = if sent.write { 0 } else { sent.count };
    if access.address != sent.address || access.count != sent.count as u64 || data.len() != wanted {
        return Err(Errno::PROTO);
    }
    Ok(data)
}

/// Whether it is one of the two other forms of DMA_WRITE's reply: none, as in QEMU's sources, or
/// with 4 bytes of count, as in the specification.
fn is_short_reply(sent: &InFlight, payload: &[u8]) -> bool {
    payload.is_empty()
        || <[u8; 12]>::try_from(payload).is_ok_and(|payload| {
            let (address, count) = payload.split_at(8);
            address == sent.address.to_ne_bytes()
                && count == u32::try_from(sent.count).unwrap_or(u32::MAX).to_ne_bytes()
        })
}
