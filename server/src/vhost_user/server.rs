//! The socket: one VMM after the other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vfio_user_kit::{Gate, Listening, Watch};
use vhost::vhost_user::Listener;

use super::session::{Session, Stay};
use crate::entropy::Entropy;

/// How long a session may take to end after its VMM has gone.
const SESSION_END: Duration = Duration::from_secs(1);
/// How long to leave the listening socket alone when a VMM cannot be served, for want of
/// descriptors for example.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Most VMMs that are refused in one go.
const MAX_REFUSALS: usize = 64;

/// Why a server cannot be had, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The socket's file cannot be made.
    #[error(transparent)]
    Socket(#[from] vfio_user_kit::ServerError),
    /// Descriptors run out.
    #[error("no descriptor for the listening socket")]
    Listener(#[source] io::Error),
    /// The listening socket failed.
    #[error("cannot wait for VMMs")]
    Poll(#[from] Errno),
}

/// A listening socket and the entropy device behind it. The socket's file goes with this value.
pub struct Server {
    listening: Listening,
    entropy: Arc<Mutex<Entropy>>,
    gate: Option<Arc<dyn Gate>>,
    watch: Watch,
}

impl Server {
    /// Listens at `path`, exactly as it is given. A socket file that nobody serves is replaced.
    ///
    /// # Errors
    /// [`ServerError::Socket`]; what is at the path is left alone then.
    pub fn bind(path: &Path, mode: u32, entropy: Entropy) -> Result<Self, ServerError> {
        Ok(Self::on(Listening::at(path, mode)?, entropy))
    }

    /// Serves at a socket that listens already.
    pub fn on(listening: Listening, entropy: Entropy) -> Self {
        let entropy = Arc::new(Mutex::new(entropy));
        Server { listening, entropy, gate: None, watch: Watch::default() }
    }

    /// The same server, with a gate that is asked for each VMM. One that is refused finds its
    /// connection closed: vhost-user has no words for a reason.
    #[must_use]
    pub fn with_gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// What tells about this server's VMMs while it runs. Whose process they are is not known.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Serves one VMM at a time, until `stop` becomes readable. The next one finds the device as
    /// the one before has left it: with its limit, and with bytes that were read for nobody.
    ///
    /// # Errors
    /// [`ServerError::Poll`], or [`ServerError::Listener`] at the start.
    pub fn run(&self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        let listener = self.listening.listener();
        let mut accepting = Listener::from(listener.try_clone().map_err(ServerError::Listener)?);
        let mut current: Option<Session> = None;
        let mut failure = String::new();
        while wait_for_vmm(listener, stop)? {
            // One that comes when its predecessor has just gone waits for the end of that session.
            current = current.and_then(|other| other.ended_within(SESSION_END, Some(stop)));
            if current.is_some() {
                self.refuse_waiting("another one is connected");
                continue;
            }
            let stay = match Stay::ask(self.listening.name(), self.gate.clone(), &self.watch) {
                Ok(stay) => stay,
                Err(refused) => {
                    self.refuse(&refused.to_string());
                    continue;
                }
            };
            match Session::start(&mut accepting, Arc::clone(&self.entropy), stay) {
                Ok(session) => current = Some(session),
                Err(error) => {
                    let reason = error.to_string();
                    if reason != failure {
                        let name = self.listening.name();
                        log::error!("{name}: cannot serve a VMM: {reason}; trying again");
                    }
                    failure = reason;
                    let mut stop = [PollFd::from_borrowed_fd(stop, PollFlags::IN)];
                    let _ = poll(&mut stop, Some(&PAUSE));
                }
            }
        }
        if let Some(session) = current {
            session.close();
            if session.ended_within(SESSION_END, None).is_some() {
                log::error!("{}: a session does not end", self.listening.name());
            }
        }
        Ok(())
    }

    /// Refuses all VMMs that wait by now: they have waited together.
    fn refuse_waiting(&self, reason: &str) {
        // Not without end, if they come faster than they go.
        for _ in 0..MAX_REFUSALS {
            if !self.refuse(reason) {
                break;
            }
        }
    }

    /// Closes a connection, so that the VMM behind it fails at once and not when its guest starts.
    /// Returns whether there was one.
    fn refuse(&self, reason: &str) -> bool {
        let name = self.listening.name();
        match self.listening.listener().accept() {
            Ok(_) => {
                log::warn!("{name}: refused a VMM: {reason}");
                self.watch.refused();
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                log::warn!("{name}: cannot accept a VMM to refuse it: {error}");
                false
            }
        }
    }
}

/// Waits until a VMM wants to connect, or for the end: then it returns false.
fn wait_for_vmm(listener: &UnixListener, stop: BorrowedFd<'_>) -> Result<bool, Errno> {
    loop {
        let fds = [listener.as_fd(), stop];
        let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) if !fds[1].revents().is_empty() => return Ok(false),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(true),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
