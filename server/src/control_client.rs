//! The other end of the daemon's control socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::daemon::snapshot::{Reply, Request};

/// Asks the daemon at a control socket. It may take so long to accept, and to answer.
///
/// # Errors
/// No daemon is there, or it does not answer.
pub fn ask(path: &Path, request: &Request, timeout: Duration) -> Result<Reply> {
    round_trip(path, request, timeout).map_err(|error| match error.downcast_ref::<io::Error>() {
        Some(reason) if reason.kind() == ErrorKind::WouldBlock => anyhow!("it does not answer"),
        _ => error,
    })
}

fn round_trip(path: &Path, request: &Request, timeout: Duration) -> Result<Reply> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let mut socket = UnixStream::from(socket);
    socket.set_read_timeout(Some(timeout))?;
    // It counts for connect(2), too: a daemon that hangs accepts no client.
    socket.set_write_timeout(Some(timeout))?;
    connect(&socket, &SocketAddrUnix::new(path)?).map_err(io::Error::from)?;
    let request = serde_json::to_string(request)? + "\n";
    socket.write_all(request.as_bytes())?;
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line)?;
    ensure!(!line.is_empty(), "it hung up without an answer");
    Ok(serde_json::from_str(&line)?)
}
