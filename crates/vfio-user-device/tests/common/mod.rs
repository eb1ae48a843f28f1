//! The vfio-user client of tests: what the server does wrong fails the test, and every wait ends
//! after [`RECEIVE_TIMEOUT`].
// Each test program uses a part of it.
#![allow(dead_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, ftruncate, memfd_create, open};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use vfio_user_client::{Connection, Message, ReceiveError};

pub use vfio_user_client::message::*;

/// How long anything may take before a test fails.
pub const RECEIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What stock QEMU 11 proposes.
pub const QEMU_PROPOSAL: &[u8] = b"{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, \
    \"max_dma_maps\": 65535, \"max_data_xfer_size\": 1048576, \"migration\": \
    {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, \"write_multiple\": true}}\0";

/// What the client of most tests proposes: QEMU's, but for `write_multiple`. A client that has that
/// answers DMA messages also for memory that is mapped.
pub const PROPOSAL: &[u8] = b"{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, \
    \"max_dma_maps\": 65535, \"max_data_xfer_size\": 1048576, \"migration\": \
    {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}}}\0";

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
    let deadline = Instant::now() + RECEIVE_TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The process that a keeper has started: its only child.
pub fn child_of(keeper: u32) -> Option<Pid> {
    let children = format!("/proc/{keeper}/task/{keeper}/children");
    let children = std::fs::read_to_string(children).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// Kills the process that a keeper has started, once it is another one than `last`. Returns it.
pub fn kill_child_of(keeper: u32, last: Option<Pid>) -> Pid {
    let mut child = None;
    wait_until("there is a process that serves", || {
        child = child_of(keeper);
        child != last && child.is_some_and(|child| kill_process(child, Signal::KILL).is_ok())
    });
    child.unwrap()
}

/// Waits for a descriptor to become readable.
pub fn wait_readable(fd: impl AsFd, what: &str) {
    let timeout = Timespec::try_from(RECEIVE_TIMEOUT).unwrap();
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

impl From<Message> for Reply {
    fn from(Message { header, payload, fds }: Message) -> Self {
        let Header { id, command, flags, error, .. } = header;
        Reply { id, command, flags, error, payload, fds }
    }
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
    connection: Connection,
}

impl Client {
    /// Connects, and says nothing.
    pub fn connect(path: &Path) -> Self {
        Client::new(UnixStream::connect(path).unwrap().into())
    }

    pub fn new(socket: OwnedFd) -> Self {
        Client { connection: Connection::on(socket, RECEIVE_TIMEOUT) }
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Connects and agrees on a version.
    pub fn negotiated(path: &Path) -> Self {
        Client::negotiated_with(path, PROPOSAL).0
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

    pub fn try_send_raw(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ReceiveError> {
        let sent = self.connection.send_bytes(bytes, fds);
        assert!(!matches!(sent, Err(ReceiveError::Timeout(_))), "server does not read");
        sent
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
        self.connection.send(command, flags, payload, fds).unwrap()
    }

    /// The next message of the server, or `None` when the connection has ended.
    pub fn next(&mut self) -> Option<Reply> {
        match self.connection.receive() {
            Ok(message) => Some(message.into()),
            Err(ReceiveError::Closed) => {
                assert!(!self.connection.is_within_message(), "cut within a message");
                None
            }
            Err(error) => panic!("waited in vain for a message: {error}"),
        }
    }

    #[track_caller]
    pub fn receive(&mut self) -> Reply {
        self.next().expect("a message, not the end of the connection")
    }

    /// Whether nothing has come from the server yet.
    pub fn is_quiet(&self) -> bool {
        self.connection.is_quiet()
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
        let _ = rustix::net::shutdown(&self.connection, rustix::net::Shutdown::Both);
    }
}
