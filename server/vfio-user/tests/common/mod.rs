//! A vfio-user client for tests, which sends whatever it is told to.
//!
//! It shares no code with the kit: the numbers here are those of the specification, so that a
//! mistake in the kit's own structures cannot hide itself. Every wait ends after [`PATIENCE`].
// Each test program uses a part of it.
#![allow(dead_code)]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, ftruncate, memfd_create, open};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const VERSION: u16 = 1;
pub const DMA_MAP: u16 = 2;
pub const DMA_UNMAP: u16 = 3;
pub const GET_INFO: u16 = 4;
pub const GET_REGION_INFO: u16 = 5;
pub const GET_REGION_IO_FDS: u16 = 6;
pub const GET_IRQ_INFO: u16 = 7;
pub const SET_IRQS: u16 = 8;
pub const REGION_READ: u16 = 9;
pub const REGION_WRITE: u16 = 10;
pub const DMA_READ: u16 = 11;
pub const DMA_WRITE: u16 = 12;
pub const DEVICE_RESET: u16 = 13;
pub const REGION_WRITE_MULTI: u16 = 15;
pub const DEVICE_FEATURE: u16 = 16;
pub const MIG_DATA_READ: u16 = 17;
pub const MIG_DATA_WRITE: u16 = 18;

/// Header flags.
pub const REPLY: u32 = 1;
pub const NO_REPLY: u32 = 0x10;
pub const ERROR: u32 = 0x20;

/// Regions and interrupt indexes.
pub const CONFIG: u32 = 7;
pub const INTX: u32 = 0;
pub const MSI: u32 = 1;
pub const MSIX: u32 = 2;
pub const ERR: u32 = 3;
pub const REQ: u32 = 4;

/// Flags of SET_IRQS.
pub const DATA_NONE: u32 = 1;
pub const DATA_BOOL: u32 = 2;
pub const DATA_EVENTFD: u32 = 4;
pub const MASK: u32 = 8;
pub const UNMASK: u32 = 16;
pub const TRIGGER: u32 = 32;

/// What stock QEMU 11 proposes.
pub const QEMU_PROPOSAL: &[u8] = b"{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, \
    \"max_dma_maps\": 65535, \"max_data_xfer_size\": 1048576, \"migration\": \
    {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, \"write_multiple\": true}}\0";

/// Bytes of a message, put together number by number in host byte order.
#[derive(Clone, Debug, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn new() -> Self {
        Bytes::default()
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

pub fn header(id: u16, command: u16, size: u32, flags: u32) -> Vec<u8> {
    Bytes::new().u16(id).u16(command).u32(size).u32(flags).u32(0).0
}

/// A whole command.
pub fn message(id: u16, command: u16, payload: &[u8]) -> Vec<u8> {
    [header(id, command, (16 + payload.len()) as u32, 0), payload.to_vec()].concat()
}

pub fn version(major: u16, minor: u16, json: &[u8]) -> Vec<u8> {
    Bytes::new().u16(major).u16(minor).raw(json).0
}

pub fn dma_map(address: u64, size: u64) -> Vec<u8> {
    dma_map_with(3, 0, address, size)
}

pub fn dma_map_with(flags: u32, offset: u64, address: u64, size: u64) -> Vec<u8> {
    Bytes::new().u32(32).u32(flags).u64(offset).u64(address).u64(size).0
}

pub fn dma_unmap(flags: u32, address: u64, size: u64) -> Vec<u8> {
    Bytes::new().u32(24).u32(flags).u64(address).u64(size).0
}

pub fn info(argsz: u32) -> Vec<u8> {
    Bytes::new().u32(argsz).u32(0).u32(0).u32(0).0
}

pub fn region_info(argsz: u32, index: u32) -> Vec<u8> {
    Bytes::new().u32(argsz).u32(0).u32(index).u32(0).u64(0).u64(0).0
}

pub fn irq_info(argsz: u32, index: u32) -> Vec<u8> {
    Bytes::new().u32(argsz).u32(0).u32(index).u32(0).0
}

pub fn set_irqs(flags: u32, index: u32, start: u32, count: u32, data: &[u8]) -> Vec<u8> {
    let argsz = 20 + data.len() as u32;
    Bytes::new().u32(argsz).u32(flags).u32(index).u32(start).u32(count).raw(data).0
}

pub fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    Bytes::new().u64(offset).u32(region).u32(count).0
}

pub fn region_write(region: u32, offset: u64, data: &[u8]) -> Vec<u8> {
    [access(region, offset, data.len() as u32), data.to_vec()].concat()
}

/// A client's reply to a DMA command.
pub fn dma_reply(id: u16, command: u16, address: u64, count: u64, data: &[u8]) -> Vec<u8> {
    let payload = Bytes::new().u64(address).u64(count).raw(data).0;
    [header(id, command, (16 + payload.len()) as u32, REPLY), payload].concat()
}

pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

/// Memory of that size in a file.
pub fn memory(size: u64) -> OwnedFd {
    let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, size).unwrap();
    file
}

pub fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

pub fn dev_null() -> OwnedFd {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// Takes the count out of an eventfd; 0 if it has not been signalled.
pub fn signals(event: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(event, &mut count) {
        Ok(_) => u64::from_ne_bytes(count),
        Err(Errno::AGAIN) => 0,
        Err(errno) => panic!("eventfd: {errno}"),
    }
}

/// Signals an eventfd.
pub fn signal(event: &OwnedFd) {
    rustix::io::write(event, &1_u64.to_ne_bytes()).unwrap();
}

/// Waits for something that no descriptor tells of.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for a descriptor to become readable.
pub fn wait_readable(fd: impl AsFd, what: &str) {
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&timeout)), Ok(1), "waited in vain for {what}");
}

/// A message of the server.
#[derive(Debug)]
pub struct Reply {
    pub id: u16,
    pub command: u16,
    pub flags: u32,
    pub error: u32,
    pub payload: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

impl Reply {
    /// The payload of a reply that reports success.
    #[track_caller]
    pub fn ok(self) -> Vec<u8> {
        assert_eq!((self.flags, self.error), (REPLY, 0), "{self:?}");
        self.payload
    }

    /// The errno of a reply that reports a failure, which is a header alone.
    #[track_caller]
    pub fn errno(self) -> Errno {
        assert_eq!((self.flags, self.payload.len()), (REPLY | ERROR, 0), "{self:?}");
        Errno::from_raw_os_error(self.error as i32)
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    pub socket: OwnedFd,
    next_id: u16,
}

impl Client {
    /// Connects, and says nothing.
    pub fn connect(path: &Path) -> Self {
        Client::new(UnixStream::connect(path).unwrap().into())
    }

    pub fn new(socket: OwnedFd) -> Self {
        Client { socket, next_id: 100 }
    }

    /// Connects and agrees on a version as QEMU does.
    pub fn negotiated(path: &Path) -> Self {
        Client::negotiated_with(path, QEMU_PROPOSAL).0
    }

    /// Connects and agrees on a version; the reply comes along.
    pub fn negotiated_with(path: &Path, json: &[u8]) -> (Self, Reply) {
        let mut client = Client::connect(path);
        let reply = client.request(VERSION, &version(0, 1, json));
        assert_eq!(reply.flags, REPLY, "{reply:?}");
        (client, reply)
    }

    /// Sends bytes in one piece, with descriptors.
    pub fn send_raw(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        self.try_send_raw(bytes, fds).unwrap();
    }

    pub fn try_send_raw(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); 2048];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let mut sent = 0;
        while sent < bytes.len() {
            let parts = [IoSlice::new(&bytes[sent..])];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.socket, &parts, &mut control, flags) {
                Ok(count) => {
                    sent += count;
                    control.clear();
                }
                Err(Errno::AGAIN) => {
                    let timeout = Timespec::try_from(PATIENCE).unwrap();
                    let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
                    assert_eq!(poll(&mut fds, Some(&timeout)), Ok(1), "server does not read");
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Sends a command and returns its id.
    pub fn send(&mut self, command: u16, payload: &[u8], fds: &[BorrowedFd<'_>]) -> u16 {
        self.send_with_flags(command, 0, payload, fds)
    }

    /// Sends a command that wants no reply.
    pub fn post(&mut self, command: u16, payload: &[u8], fds: &[BorrowedFd<'_>]) -> u16 {
        self.send_with_flags(command, NO_REPLY, payload, fds)
    }

    pub fn send_with_flags(
        &mut self,
        command: u16,
        flags: u32,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        let size = (16 + payload.len()) as u32;
        let head = header(self.next_id, command, size, flags);
        self.send_raw(&[&head, payload].concat(), fds);
        self.next_id
    }

    /// The next message of the server, or `None` when the connection has ended.
    pub fn next(&mut self) -> Option<Reply> {
        let mut fds = Vec::new();
        let mut head = [0; 16];
        if !self.receive_exactly(&mut head, &mut fds) {
            return None;
        }
        let size = u32_at(&head, 4) as usize;
        assert!(size >= 16, "a message of {size} bytes");
        let mut payload = vec![0; size - 16];
        assert!(self.receive_exactly(&mut payload, &mut fds), "cut within a message");
        Some(Reply {
            id: u16::from_ne_bytes([head[0], head[1]]),
            command: u16::from_ne_bytes([head[2], head[3]]),
            flags: u32_at(&head, 8),
            error: u32_at(&head, 12),
            payload,
            fds,
        })
    }

    #[track_caller]
    pub fn receive(&mut self) -> Reply {
        self.next().expect("a message, not the end of the connection")
    }

    /// Whether nothing has come from the server yet.
    pub fn is_quiet(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
    }

    /// Returns false at the end of the stream before the first byte.
    fn receive_exactly(&self, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> bool {
        let mut filled = 0;
        while filled < buffer.len() {
            wait_readable(&self.socket, "a message");
            let mut space = [MaybeUninit::uninit(); 1024];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut buffer[filled..])];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let bytes = match recvmsg(&self.socket, &mut parts, &mut control, flags) {
                Ok(received) => received.bytes,
                Err(Errno::CONNRESET) => 0,
                Err(errno) => panic!("recvmsg: {errno}"),
            };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    fds.extend(received);
                }
            }
            if bytes == 0 {
                assert_eq!(filled, 0, "cut within a message");
                return false;
            }
            filled += bytes;
        }
        true
    }

    /// Sends a command and waits for its reply.
    #[track_caller]
    pub fn request(&mut self, command: u16, payload: &[u8]) -> Reply {
        self.request_with(command, payload, &[])
    }

    #[track_caller]
    pub fn request_with(&mut self, command: u16, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Reply {
        let id = self.send(command, payload, fds);
        let reply = self.receive();
        assert_eq!((reply.id, reply.command), (id, command), "{reply:?}");
        reply
    }

    /// Sends a command that is to be refused, and checks that the next one works.
    #[track_caller]
    pub fn refused(&mut self, command: u16, payload: &[u8]) -> Errno {
        self.refused_with(command, payload, &[])
    }

    #[track_caller]
    pub fn refused_with(&mut self, command: u16, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Errno {
        let errno = self.request_with(command, payload, fds).errno();
        self.assert_in_sync();
        errno
    }

    /// Both sides still agree where a message starts.
    #[track_caller]
    pub fn assert_in_sync(&mut self) {
        let reply = self.request(GET_INFO, &info(16)).ok();
        assert_eq!(reply, Bytes::new().u32(16).u32(3).u32(9).u32(5).0);
    }

    /// The server has closed the connection, and said nothing more.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        assert!(self.next().is_none(), "still connected");
    }

    #[track_caller]
    pub fn read(&mut self, region: u32, offset: u64, count: u32) -> Vec<u8> {
        let reply = self.request(REGION_READ, &access(region, offset, count)).ok();
        assert_eq!(reply[..16], access(region, offset, count));
        assert_eq!(reply.len(), 16 + count as usize);
        reply[16..].to_vec()
    }

    #[track_caller]
    pub fn read_u32(&mut self, region: u32, offset: u64) -> u32 {
        u32_at(&self.read(region, offset, 4), 0)
    }

    #[track_caller]
    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
        let reply = self.request(REGION_WRITE, &region_write(region, offset, data)).ok();
        assert_eq!(reply, access(region, offset, data.len() as u32));
    }

    #[track_caller]
    pub fn write_u32(&mut self, region: u32, offset: u64, value: u32) {
        self.write(region, offset, &value.to_le_bytes());
    }

    #[track_caller]
    pub fn map(&mut self, address: u64, size: u64, file: Option<&OwnedFd>) {
        let fds: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
        assert!(self.request_with(DMA_MAP, &dma_map(address, size), &fds).ok().is_empty());
    }
}

impl Drop for Client {
    /// A process that another test starts at this moment has a copy of the socket until its exec:
    /// closing alone would not end the connection yet.
    fn drop(&mut self) {
        // The server may have been the first.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}
