//! A guest, as far as a server sees one: a client that does what QEMU does at its start.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vfio_user_kit::wire::{Command, Header, RegionAccess};
use zerocopy::{FromBytes, IntoBytes};

/// Size of the reply to a 4-byte REGION_READ.
pub const READ_REPLY: usize = 36;
/// Guest memory in bytes. None of it is touched.
const MEMORY: u64 = 256 << 20;
/// What QEMU says of itself.
const PROPOSAL: &[u8] = b"{\"capabilities\": {\"max_msg_fds\": 16, \"max_data_xfer_size\": \
    1048576, \"pgsizes\": 4096, \"max_dma_maps\": 65535, \"write_multiple\": true}}\0";
/// The regions of a PCI device, and its interrupts.
const REGIONS: u32 = 9;
const CONFIG: u32 = 7;
const IRQS: u32 = 5;
/// MSI-X, and what SET_IRQS has for an eventfd that is to be signalled.
const MSIX: u32 = 2;
const TRIGGER_BY_EVENTFD: u32 = 1 << 5 | 1 << 2;

/// What all guests of this process can share: the server has its own of each all the same.
pub struct Belongings {
    memory: OwnedFd,
    event: OwnedFd,
}

impl Belongings {
    pub fn new() -> Result<Self> {
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, MEMORY)?;
        Ok(Belongings {
            memory,
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }
}

/// A connected guest.
pub struct Guest {
    socket: UnixStream,
}

impl Guest {
    /// Connects, agrees on a version, looks at the device, gives it memory and interrupts.
    pub fn start(path: &Path, belongings: &Belongings) -> Result<Self> {
        let socket = UnixStream::connect(path).with_context(|| path.display().to_string())?;
        let mut guest = Guest { socket };
        guest.request(Command::Version, &[&[0, 0, 1, 0], PROPOSAL].concat(), &[])?;
        guest.request(Command::DeviceGetInfo, &numbers(&[16, 0, 0, 0]), &[])?;
        for region in 0..REGIONS {
            let info = numbers(&[32, 0, region, 0, 0, 0, 0, 0]);
            guest.request(Command::DeviceGetRegionInfo, &info, &[])?;
        }
        let mut vectors = 0;
        for index in 0..IRQS {
            let info = numbers(&[16, 0, index, 0]);
            let reply = guest.request(Command::DeviceGetIrqInfo, &info, &[])?;
            if index == MSIX {
                vectors = u32::from_ne_bytes(reply[12..16].try_into()?);
            }
        }
        // Flags: readable and writable.
        let map = [numbers(&[32, 3]), longs(&[0, 0, MEMORY])].concat();
        guest.request(Command::DmaMap, &map, &[belongings.memory.as_fd()])?;
        for vector in 0..vectors {
            let set = numbers(&[20, TRIGGER_BY_EVENTFD, MSIX, vector, 1]);
            guest.request(Command::DeviceSetIrqs, &set, &[belongings.event.as_fd()])?;
        }
        let identity = RegionAccess { offset: 0, region: CONFIG, count: 4 };
        guest.request(Command::RegionRead, identity.as_bytes(), &[])?;
        Ok(guest)
    }

    /// Reads a register `count` times, each timed.
    pub fn read_register(&mut self, times: &mut Vec<Duration>, count: usize) -> Result<()> {
        let request = register_read();
        let mut reply = [0; READ_REPLY];
        times.reserve(count);
        for _ in 0..count {
            let start = Instant::now();
            self.socket.write_all(&request)?;
            self.socket.read_exact(&mut reply)?;
            times.push(start.elapsed());
        }
        Ok(())
    }

    /// Sends a command and returns the payload of its reply.
    fn request(
        &mut self,
        command: Command,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<u8>> {
        let message = message(command, payload);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let parts = [IoSlice::new(&message)];
        let sent = sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
        ensure!(sent == message.len(), "{command:?}: sent {sent} of {} bytes", message.len());
        let mut head = [0; 16];
        self.socket.read_exact(&mut head).with_context(|| format!("{command:?}"))?;
        let head = Header::read_from_bytes(&head).ok().context("a header")?;
        ensure!(head.error == 0, "{command:?}: errno {}", head.error);
        let mut payload = vec![0; head.size as usize - 16];
        self.socket.read_exact(&mut payload)?;
        Ok(payload)
    }

    /// The socket alone, to misbehave on.
    pub fn into_socket(self) -> UnixStream {
        self.socket
    }
}

/// A REGION_READ of four bytes at offset 0 of BAR 0.
pub fn register_read() -> Vec<u8> {
    let access = RegionAccess { offset: 0, region: 0, count: 4 };
    message(Command::RegionRead, access.as_bytes())
}

/// A whole message.
pub fn message(command: Command, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(16 + payload.len()).unwrap_or(u32::MAX);
    let header = Header { id: 1, command: command as u16, size, flags: 0, error: 0 };
    [header.as_bytes(), payload].concat()
}

fn numbers(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn longs(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}
