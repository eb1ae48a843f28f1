//! The control socket: lines of JSON, a request and its reply.

use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::iter::successors;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use vfio_user_device::exchange::ExchangeError;
use vfio_user_device::server::Listener;

use super::Daemon;
use super::sandbox::CONTROL;
use super::snapshot::{Reply, Request};

/// Permissions of the socket: only the daemon's user sees what guests do.
const MODE: u32 = 0o600;
/// Longest request in bytes.
const MAX_REQUEST_LEN: u64 = 4096;
/// How long a client may send nothing, or not read.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most clients at once; others wait.
const MAX_CLIENTS: usize = 8;

/// The socket, before it is served.
pub struct Control {
    socket: Listener,
    /// Counts the clients that are being served.
    clients: Arc<()>,
}

impl Control {
    /// Listens at a path.
    ///
    /// # Errors
    /// The path cannot be had.
    pub fn bind(path: &Path) -> Result<Self> {
        let socket = Listener::bind(path, MODE).context("the control socket")?;
        Ok(Control::on(socket))
    }

    /// Goes on at the socket of the process whose place this one takes.
    pub fn on(socket: Listener) -> Self {
        Control { socket, clients: Arc::new(()) }
    }

    /// The socket itself.
    pub fn socket(&self) -> &Listener {
        &self.socket
    }

    /// The descriptor that becomes readable when a client connects.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.socket().as_fd()
    }

    /// Whether one more client may be accepted.
    pub fn has_room(&self) -> bool {
        Arc::strong_count(&self.clients) <= MAX_CLIENTS
    }

    /// Accepts a client, if there is one, and serves it on a thread of its own: it may be slow.
    /// Returns false if it is better not to try again at once.
    pub fn accept(&self, daemon: &Arc<Mutex<Daemon>>) -> bool {
        let client = match self.socket.socket().accept() {
            Ok((client, _)) => client,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) => {
                log::warn!("the control socket: cannot accept clients: {error}; trying again");
                return false;
            }
        };
        let (daemon, counted) = (Arc::clone(daemon), Arc::clone(&self.clients));
        let thread = thread::Builder::new().name("control".into()).spawn(move || {
            CONTROL.enter();
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
    client.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let mut requests = BufReader::new(client.try_clone()?);
    let mut replies = client;
    loop {
        let mut line = String::new();
        if requests.by_ref().take(MAX_REQUEST_LEN).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_str(&line) {
            Ok(Request::Status) => {
                let daemon = daemon.lock().unwrap_or_else(PoisonError::into_inner);
                Reply::Status(Box::new(daemon.snapshot()))
            }
            Ok(Request::Exchange { binary }) => {
                if exchange(&replies, daemon, binary)? {
                    return Ok(());
                }
                continue;
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

/// Has another process take the daemon's place, and answers. Returns whether it does.
fn exchange(
    client: &UnixStream,
    daemon: &Mutex<Daemon>,
    binary: Option<PathBuf>,
) -> std::io::Result<bool> {
    let servers = daemon.lock().unwrap_or_else(PoisonError::into_inner).servers.clone();
    let mut replies = client.try_clone()?;
    let (done, end) = channel();
    // Answered before this process ends, by the thread that ends it.
    servers.exchange(binary, move |result| {
        let reply = match result {
            Ok(process) => Reply::Exchange { process: *process },
            Err(error) => Reply::Error(with_causes(error)),
        };
        let text = serde_json::to_string(&reply).unwrap_or_default() + "\n";
        if let Err(error) = replies.write_all(text.as_bytes()) {
            log::debug!("a client of the control socket: {error}");
        }
        // The client may be gone.
        let _ = done.send(result.is_ok());
    });
    Ok(end.recv().unwrap_or(true))
}

/// An error with what is behind it, in one line.
fn with_causes(error: &ExchangeError) -> String {
    let causes = successors(Some(error as &dyn Error), |&error| error.source());
    let mut text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    if let Some(remedy) = vfio_user_device::sandbox::remedy(error) {
        text.push_str(&format!("; {remedy}"));
    }
    text
}
