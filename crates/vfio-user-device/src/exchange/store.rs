//! Servers on their way to a process that does not run yet: systemd keeps them meanwhile.
//!
//! systemd keeps descriptors for a service that is restarted (`FileDescriptorStoreMax=`). It gets a single
//! one: a socket in which all others lie, with a file in memory that has the documents. Of a service that
//! is stopped it closes them.

use std::fs::File;
use std::io::{self, IoSlice, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};
use serde::{Deserialize, Serialize};

use super::channel::{Channel, VERSION};
use super::{ExchangeError, ProgramState};
use crate::server::ServerDocument;
use crate::state::{Descriptors, DeviceState};

/// What the descriptor is called in the store.
pub(crate) const NAME: &str = "exchange";
/// How long it may take to put everything into a socket, or out of one.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// The file in memory.
#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    /// Each with the number of its descriptors.
    servers: Vec<(ServerDocument, usize)>,
    program: DeviceState,
    program_fds: usize,
}

/// What another process has left in the store.
pub(crate) struct Stored {
    pub servers: Vec<(ServerDocument, Descriptors)>,
    pub program: (DeviceState, Descriptors),
}

/// Puts servers and what the program keeps into a socket.
///
/// # Errors
/// Descriptors have run out, or there are too many.
pub(crate) fn fill(
    servers: Vec<(ServerDocument, Descriptors)>,
    program: &ProgramState,
) -> Result<OwnedFd, ExchangeError> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut all = Descriptors::default();
    let failed = |error: crate::state::StateError| ExchangeError::Program(error.to_string());
    let documents =
        File::from(memfd_create("exchange", MemfdFlags::CLOEXEC).map_err(io::Error::from)?);
    all.add(documents.as_fd()).map_err(failed)?;
    let mut listed = Vec::new();
    for (document, fds) in servers {
        let fds = fds.borrow();
        for fd in &fds {
            all.add(*fd).map_err(failed)?;
        }
        listed.push((document, fds.len()));
    }
    let program_fds = program.fds.borrow();
    for fd in &program_fds {
        all.add(*fd).map_err(failed)?;
    }
    let (program, program_fds) = (program.state.clone(), program_fds.len());
    let content = Content { version: VERSION, servers: listed, program, program_fds };
    let mut writer = io::BufWriter::new(documents);
    serde_json::to_writer(&mut writer, &content).map_err(io::Error::from)?;
    writer.flush()?;
    Channel::new(ours, Instant::now() + STORE_TIMEOUT).send(&VERSION, &all)?;
    Ok(theirs.into())
}

/// Takes everything out of such a socket.
///
/// # Errors
/// It is of another version, or not whole.
pub(crate) fn empty(socket: OwnedFd) -> Result<Stored, ExchangeError> {
    let mut channel = Channel::new(UnixStream::from(socket), Instant::now() + STORE_TIMEOUT);
    let (found, fds) = channel.receive::<u32>()?;
    if found != VERSION {
        return Err(ExchangeError::Version { found, known: VERSION });
    }
    let mut fds = fds.into_owned().into_iter();
    let missing = || ExchangeError::Message("a descriptor is missing".into());
    let mut documents = File::from(fds.next().ok_or_else(missing)?);
    documents.rewind()?;
    let content = serde_json::from_reader(io::BufReader::new(documents));
    let Content { servers, program, program_fds, .. } =
        content.map_err(|error| ExchangeError::Message(error.to_string()))?;
    let mut take = |count: usize| Descriptors::arrived(fds.by_ref().take(count).collect());
    let servers = servers.into_iter().map(|(document, count)| (document, take(count))).collect();
    Ok(Stored { servers, program: (program, take(program_fds)) })
}

/// Whether systemd keeps descriptors for this service.
pub(crate) fn is_offered() -> bool {
    let most = std::env::var("FDSTORE").ok().and_then(|most| most.parse::<u64>().ok());
    most.is_some_and(|most| most > 0) && std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Gives the socket to systemd.
///
/// # Errors
/// systemd does not listen.
pub(crate) fn give(socket: &OwnedFd) -> io::Result<()> {
    let path = std::env::var_os("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotFound)?;
    let address = match path.as_encoded_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        path => SocketAddrUnix::new(path)?,
    };
    let manager = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    connect(&manager, &address)?;
    // Its other end is closed, which is no reason to remove it.
    let text = format!("FDSTORE=1\nFDNAME={NAME}\nFDPOLL=0\n");
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [socket.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&manager, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
