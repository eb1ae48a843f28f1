//! The control socket: lines of JSON, a request and its reply.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use vfio_user_kit::Listening;

use super::Daemon;
use super::snapshot::{Reply, Request};

/// Permissions of the socket: what guests do is their owners' affair.
const MODE: u32 = 0o600;
/// Longest request in bytes.
const LONGEST: u64 = 4096;
/// How long somebody may keep silent, or refuse to read.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most clients at once; others wait.
const CLIENTS: usize = 8;

/// The socket, before it is served.
pub struct Control {
    socket: Listening,
    /// Counts the clients that are being served.
    clients: Arc<()>,
}

impl Control {
    /// Listens at a path.
    ///
    /// # Errors
    /// The path cannot be had.
    pub fn bind(path: &Path) -> Result<Self> {
        let socket = Listening::at(path, MODE).context("the control socket")?;
        Ok(Control { socket, clients: Arc::new(()) })
    }

    /// What becomes readable when somebody comes.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.listener().as_fd()
    }

    /// Whether one more client may be accepted.
    pub fn has_room(&self) -> bool {
        Arc::strong_count(&self.clients) <= CLIENTS
    }

    /// Accepts a client, if there is one, and serves it on a thread of its own: it may be slow.
    /// Returns false if it is better not to try again at once.
    pub fn accept(&self, daemon: &Arc<Mutex<Daemon>>) -> bool {
        let client = match self.socket.listener().accept() {
            Ok((client, _)) => client,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) => {
                log::warn!("the control socket: cannot accept clients: {error}; trying again");
                return false;
            }
        };
        let (daemon, counted) = (Arc::clone(daemon), Arc::clone(&self.clients));
        let thread = thread::Builder::new().name("control".into()).spawn(move || {
            if let Err(error) = serve(client, &daemon) {
                log::debug!("a client of the control socket: {error}");
            }
            drop(counted);
        });
        if let Err(error) = &thread {
            log::warn!("the control socket: cannot serve a client: {error}");
        }
        thread.is_ok()
    }
}

fn serve(client: UnixStream, daemon: &Mutex<Daemon>) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut requests = BufReader::new(client.try_clone()?);
    let mut replies = client;
    loop {
        let mut line = String::new();
        if requests.by_ref().take(LONGEST).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_str(&line) {
            Ok(Request::Status) => {
                let daemon = daemon.lock().unwrap_or_else(PoisonError::into_inner);
                Reply::Status(Box::new(daemon.snapshot()))
            }
            Err(error) => Reply::Error(format!("{error}; {{\"command\":\"status\"}} is known")),
        };
        let mut text = serde_json::to_string(&reply)?;
        text.push('\n');
        replies.write_all(text.as_bytes())?;
        if matches!(reply, Reply::Error(_)) {
            return Ok(());
        }
    }
}
