//! The layout of messages, by the specification (QEMU's `docs/interop/vfio-user.rst`).
//!
//! Numbers are in the host's byte order, as the protocol has them.

use std::os::fd::OwnedFd;

/// Bytes of a header.
pub const HEADER_LEN: u32 = 16;

/// Agree on a version; the first message.
pub const VERSION: u16 = 1;
/// Announce guest memory.
pub const DMA_MAP: u16 = 2;
/// Withdraw guest memory.
pub const DMA_UNMAP: u16 = 3;
/// What the device is.
pub const GET_INFO: u16 = 4;
/// What a region is.
pub const GET_REGION_INFO: u16 = 5;
/// Eventfds for writes to a region.
pub const GET_REGION_IO_FDS: u16 = 6;
/// What an interrupt index is.
pub const GET_IRQ_INFO: u16 = 7;
/// Set up or trigger interrupts.
pub const SET_IRQS: u16 = 8;
/// Read from a region.
pub const REGION_READ: u16 = 9;
/// Write to a region.
pub const REGION_WRITE: u16 = 10;
/// Read guest memory, from the server.
pub const DMA_READ: u16 = 11;
/// Write guest memory, from the server.
pub const DMA_WRITE: u16 = 12;
/// Reset the device.
pub const DEVICE_RESET: u16 = 13;
/// Several writes to regions.
pub const REGION_WRITE_MULTI: u16 = 15;
/// Query or set a feature.
pub const DEVICE_FEATURE: u16 = 16;
/// Read migration data.
pub const MIG_DATA_READ: u16 = 17;
/// Write migration data.
pub const MIG_DATA_WRITE: u16 = 18;

/// Feature of DEVICE_FEATURE: how the device can be migrated.
pub const MIGRATION: u32 = 1;
/// Feature of DEVICE_FEATURE: what the device does for its migration.
pub const MIG_DEVICE_STATE: u32 = 2;
/// Feature of DEVICE_FEATURE: log the pages that the device writes.
pub const DMA_LOGGING_START: u32 = 6;
/// Feature of DEVICE_FEATURE: log them no more.
pub const DMA_LOGGING_STOP: u32 = 7;
/// Feature of DEVICE_FEATURE: say which were written.
pub const DMA_LOGGING_REPORT: u32 = 8;

/// Flag of DEVICE_FEATURE: return the data.
pub const GET: u32 = 1 << 16;
/// Flag of DEVICE_FEATURE: set the data.
pub const SET: u32 = 1 << 17;
/// Flag of DEVICE_FEATURE: is it possible?
pub const PROBE: u32 = 1 << 18;

/// Migration state: the device has failed.
pub const MIG_ERROR: u32 = 0;
/// Migration state: the device stands still.
pub const MIG_STOP: u32 = 1;
/// Migration state: the device works.
pub const MIG_RUNNING: u32 = 2;
/// Migration state: its state can be read.
pub const MIG_STOP_COPY: u32 = 3;
/// Migration state: its state can be written.
pub const MIG_RESUMING: u32 = 4;
/// Migration state: the device works, and its state can be read.
pub const MIG_PRE_COPY: u32 = 6;

/// Header flag: a reply.
pub const REPLY: u32 = 1;
/// Header flag: no reply is wanted.
pub const NO_REPLY: u32 = 0x10;
/// Header flag: a reply that reports an error.
pub const ERROR: u32 = 0x20;

/// The region of configuration space.
pub const CONFIG: u32 = 7;
/// The interrupt index of the pin.
pub const INTX: u32 = 0;
/// The interrupt index of MSI.
pub const MSI: u32 = 1;
/// The interrupt index of MSI-X.
pub const MSIX: u32 = 2;
/// The interrupt index of errors.
pub const ERR: u32 = 3;
/// The interrupt index of release requests.
pub const REQ: u32 = 4;

/// SET_IRQS without data.
pub const DATA_NONE: u32 = 1;
/// SET_IRQS with a byte for each vector.
pub const DATA_BOOL: u32 = 2;
/// SET_IRQS with an eventfd for each vector.
pub const DATA_EVENTFD: u32 = 4;
/// SET_IRQS that masks.
pub const MASK: u32 = 8;
/// SET_IRQS that unmasks.
pub const UNMASK: u32 = 16;
/// SET_IRQS that signals, or sets eventfds to be signalled.
pub const TRIGGER: u32 = 32;

/// What stock QEMU 11 proposes.
pub const QEMU_PROPOSAL: &[u8] = b"{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, \
    \"max_dma_maps\": 65535, \"max_data_xfer_size\": 1048576, \"migration\": \
    {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, \"write_multiple\": true}}\0";

/// Bytes of a message, put together number by number in host byte order.
#[derive(Clone, Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// No bytes.
    pub fn new() -> Self {
        Bytes::default()
    }

    /// Appends a number.
    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    /// Appends a number.
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    /// Appends a number.
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    /// Appends bytes.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

/// A header without an error.
pub fn header(id: u16, command: u16, size: u32, flags: u32) -> Vec<u8> {
    Bytes::new().u16(id).u16(command).u32(size).u32(flags).u32(0).0
}

/// A whole command.
pub fn message(id: u16, command: u16, payload: &[u8]) -> Vec<u8> {
    [header(id, command, message_len(payload), 0), payload.to_vec()].concat()
}

/// The payload of VERSION.
pub fn version(major: u16, minor: u16, json: &[u8]) -> Vec<u8> {
    Bytes::new().u16(major).u16(minor).raw(json).0
}

/// The payload of DMA_MAP for readable and writable memory.
pub fn dma_map(address: u64, size: u64) -> Vec<u8> {
    dma_map_with(3, 0, address, size)
}

/// The payload of DMA_MAP.
pub fn dma_map_with(flags: u32, offset: u64, address: u64, size: u64) -> Vec<u8> {
    Bytes::new().u32(32).u32(flags).u64(offset).u64(address).u64(size).0
}

/// The payload of DMA_UNMAP.
pub fn dma_unmap(flags: u32, address: u64, size: u64) -> Vec<u8> {
    Bytes::new().u32(24).u32(flags).u64(address).u64(size).0
}

/// The payload of GET_INFO.
pub fn info(argsz: u32) -> Vec<u8> {
    Bytes::new().u32(argsz).u32(0).u32(0).u32(0).0
}

/// The payload of GET_REGION_INFO.
pub fn region_info(argsz: u32, index: u32) -> Vec<u8> {
    Bytes::new().u32(argsz).u32(0).u32(index).u32(0).u64(0).u64(0).0
}

/// The payload of GET_IRQ_INFO.
pub fn irq_info(argsz: u32, index: u32) -> Vec<u8> {
    Bytes::new().u32(argsz).u32(0).u32(index).u32(0).0
}

/// The payload of SET_IRQS.
pub fn set_irqs(flags: u32, index: u32, start: u32, count: u32, data: &[u8]) -> Vec<u8> {
    let argsz = len(data).saturating_add(20);
    Bytes::new().u32(argsz).u32(flags).u32(index).u32(start).u32(count).raw(data).0
}

/// The payload of REGION_READ.
pub fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    Bytes::new().u64(offset).u32(region).u32(count).0
}

/// The payload of REGION_WRITE.
pub fn region_write(region: u32, offset: u64, data: &[u8]) -> Vec<u8> {
    [access(region, offset, len(data)), data.to_vec()].concat()
}

/// The payload of DEVICE_FEATURE with room for `room` bytes of data in the reply.
pub fn feature(flags: u32, data: &[u8], room: u32) -> Vec<u8> {
    let argsz = len(data).max(room).saturating_add(8);
    Bytes::new().u32(argsz).u32(flags).raw(data).0
}

/// The payload of DEVICE_FEATURE that sets the migration state.
pub fn set_migration_state(state: u32) -> Vec<u8> {
    feature(SET | MIG_DEVICE_STATE, &Bytes::new().u32(state).u32(0).0, 0)
}

/// The payload of DEVICE_FEATURE that asks which pages of a range were written.
pub fn dma_logging_report(iova: u64, length: u64, page_size: u64) -> Vec<u8> {
    let bitmap = length.div_ceil(page_size.max(1)).div_ceil(64).saturating_mul(8);
    let room = u32::try_from(bitmap).unwrap_or(u32::MAX).saturating_add(24);
    let data = Bytes::new().u64(iova).u64(length).u64(page_size).0;
    feature(GET | DMA_LOGGING_REPORT, &data, room)
}

/// The payload of MIG_DATA_READ.
pub fn mig_data_read(size: u32) -> Vec<u8> {
    Bytes::new().u32(size.saturating_add(8)).u32(size).0
}

/// The payload of MIG_DATA_WRITE.
pub fn mig_data_write(data: &[u8]) -> Vec<u8> {
    Bytes::new().u32(len(data).saturating_add(8)).u32(len(data)).raw(data).0
}

/// A client's reply to a DMA command.
pub fn dma_reply(id: u16, command: u16, address: u64, count: u64, data: &[u8]) -> Vec<u8> {
    let payload = Bytes::new().u64(address).u64(count).raw(data).0;
    [header(id, command, message_len(&payload), REPLY), payload].concat()
}

/// The number at an offset; 0 beyond the end.
pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes_at(bytes, offset))
}

/// The number at an offset; 0 beyond the end.
pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(bytes_at(bytes, offset))
}

/// The number at an offset; 0 beyond the end.
pub fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_ne_bytes(bytes_at(bytes, offset))
}

fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let found = bytes.get(offset..).and_then(|bytes| bytes.first_chunk());
    found.copied().unwrap_or([0; N])
}

fn len(bytes: &[u8]) -> u32 {
    bytes.len().try_into().unwrap_or(u32::MAX)
}

/// The length of a message with this payload.
pub fn message_len(payload: &[u8]) -> u32 {
    len(payload).saturating_add(HEADER_LEN)
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which message it is, or a reply to which.
    pub id: u16,
    /// The command.
    pub command: u16,
    /// Bytes of the whole message.
    pub size: u32,
    /// [`REPLY`], [`NO_REPLY`], [`ERROR`].
    pub flags: u32,
    /// The errno of a reply with [`ERROR`].
    pub error: u32,
}

impl Header {
    /// The header at the start of some bytes, if they are enough.
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let (header, _) = bytes.split_at_checked(HEADER_LEN as usize)?;
        Some(Header {
            id: u16_at(header, 0),
            command: u16_at(header, 2),
            size: u32_at(header, 4),
            flags: u32_at(header, 8),
            error: u32_at(header, 12),
        })
    }

    /// Whether it is one of a reply.
    pub fn is_reply(&self) -> bool {
        // The low four bits are the type.
        self.flags & 0xf == REPLY
    }

    /// The errno of a reply that reports an error.
    pub fn errno(&self) -> Option<i32> {
        (self.flags & ERROR != 0).then(|| self.error.try_into().unwrap_or(i32::MAX))
    }
}

/// A message of the server.
#[derive(Debug)]
pub struct Message {
    /// Its header.
    pub header: Header,
    /// What follows the header.
    pub payload: Vec<u8>,
    /// Descriptors that came with it.
    pub fds: Vec<OwnedFd>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_sent_is_read_back() {
        let bytes = message(7, REGION_READ, &access(3, 0x40, 4));
        let header = Header::decode(&bytes).unwrap();
        assert_eq!(header, Header { id: 7, command: 9, size: 32, flags: 0, error: 0 });
        assert_eq!((u64_at(&bytes, 16), u32_at(&bytes, 24), u32_at(&bytes, 28)), (0x40, 3, 4));
    }

    #[test]
    fn too_few_bytes_are_no_header_and_read_as_zeros() {
        assert_eq!(Header::decode(&[0; 15]), None);
        assert_eq!((u16_at(&[1], 0), u32_at(&[1, 2, 3], 0), u64_at(&[], 9)), (0, 0, 0));
    }
}
