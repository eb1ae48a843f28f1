//! A guest, as far as a server sees one: a client that does what QEMU does at its start.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vfio_user_client::Connection;
use vfio_user_client::message::{
    CONFIG, DATA_EVENTFD, DMA_MAP, GET_INFO, GET_IRQ_INFO, GET_REGION_INFO, MSIX, REGION_READ,
    SET_IRQS, TRIGGER, VERSION, access, dma_map, info, irq_info, message, region_info, set_irqs,
    u32_at, version,
};

/// How long the server may take for a message.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Size of the reply to a 4-byte REGION_READ.
pub const READ_REPLY: usize = 36;
/// Guest memory in bytes. None of it is touched.
const MEMORY: u64 = 256 << 20;
/// What QEMU says of itself.
const PROPOSAL: &[u8] = b"{\"capabilities\": {\"max_msg_fds\": 16, \"max_data_xfer_size\": \
    1048576, \"pgsizes\": 4096, \"max_dma_maps\": 65535}}\0";
/// The regions of a PCI device, and its interrupts.
const REGIONS: u32 = 9;
const IRQS: u32 = 5;

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
        let mut connection =
            Connection::connect(path, TIMEOUT).with_context(|| path.display().to_string())?;
        let mut request = |command, payload: &[u8], fds: &[BorrowedFd<'_>]| {
            let reply = connection
                .request(command, payload, fds)
                .with_context(|| format!("command {command}"))?;
            ensure!(reply.header.error == 0, "command {command}: errno {}", reply.header.error);
            Ok(reply.payload)
        };
        request(VERSION, &version(0, 1, PROPOSAL), &[])?;
        request(GET_INFO, &info(16), &[])?;
        for region in 0..REGIONS {
            request(GET_REGION_INFO, &region_info(32, region), &[])?;
        }
        let mut vectors = 0;
        for index in 0..IRQS {
            let reply = request(GET_IRQ_INFO, &irq_info(16, index), &[])?;
            if index == MSIX {
                vectors = u32_at(&reply, 12);
            }
        }
        request(DMA_MAP, &dma_map(0, MEMORY), &[belongings.memory.as_fd()])?;
        for vector in 0..vectors {
            let set = set_irqs(TRIGGER | DATA_EVENTFD, MSIX, vector, 1, &[]);
            request(SET_IRQS, &set, &[belongings.event.as_fd()])?;
        }
        request(REGION_READ, &access(CONFIG, 0, 4), &[])?;
        Ok(Guest { socket: connection.into_socket().into() })
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

    /// The socket alone, to misbehave on.
    pub fn into_socket(self) -> UnixStream {
        self.socket
    }
}

/// A REGION_READ of four bytes at offset 0 of BAR 0.
pub fn register_read() -> Vec<u8> {
    message(1, REGION_READ, &access(0, 0, 4))
}
