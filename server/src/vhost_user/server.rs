//! The socket: one VMM after the other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vfio_user_device::server::{self, AdmissionPolicy, ServerState, SocketPermissions};
use vhost::vhost_user::Listener;

use super::session::{Admission, Session};
use entropy::service::Entropy;

/// How long to accept no VMM after one could not be served, when descriptors have run out for
/// example.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Most VMMs that are rejected in one go.
const MAX_REJECTIONS: usize = 64;

/// Why a server cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The socket cannot be bound.
    #[error(transparent)]
    Socket(#[from] server::ServerError),
    /// Descriptors run out.
    #[error("no descriptor for the listening socket")]
    Listener(#[source] io::Error),
    /// The listening socket failed.
    #[error("cannot wait for VMMs")]
    Poll(#[from] Errno),
}

/// A listening socket and the entropy device behind it. The socket's file goes with this value.
pub struct Server {
    listener: server::Listener,
    /// The guest's name, for the log.
    name: String,
    entropy: Arc<Mutex<Entropy>>,
    policy: Option<Arc<dyn AdmissionPolicy>>,
    state: ServerState,
}

impl Server {
    /// Listens at `path`, exactly as it is given. A stale socket file is replaced.
    ///
    /// # Errors
    /// [`ServerError::Socket`]; what is at the path is unchanged then.
    pub fn bind(path: &Path, mode: u32, entropy: Entropy) -> Result<Self, ServerError> {
        Ok(Self::on(server::Listener::bind(path, mode)?, entropy))
    }

    /// Serves at a socket that listens already.
    pub fn on(listener: server::Listener, entropy: Entropy) -> Self {
        let (name, entropy) = (listener.name().to_owned(), Arc::new(Mutex::new(entropy)));
        Server { listener, name, entropy, policy: None, state: ServerState::default() }
    }

    /// The same server, with the name of its guest for the log; otherwise that is the socket's.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The same server, with a policy that is asked for each VMM. One that is rejected finds its
    /// connection closed: vhost-user has no words for a reason.
    #[must_use]
    pub fn with_admission_policy(mut self, policy: Arc<dyn AdmissionPolicy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The name of its guest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What changes the permissions of the socket's file, if this server has made it.
    pub fn socket_permissions(&self) -> Option<SocketPermissions> {
        self.listener.permissions()
    }

    /// What tells about this server's VMMs while it runs. Whose process they are is not known.
    pub fn state(&self) -> ServerState {
        self.state.clone()
    }

    /// Serves one VMM at a time, until `stop` becomes readable. The next one finds the device as
    /// the one before has left it: with its limit, and with bytes that were read and not used.
    ///
    /// # Errors
    /// [`ServerError::Poll`], or [`ServerError::Listener`] at the start.
    pub fn run(&self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        let listener = self.listener.socket();
        let mut accepting = Listener::from(listener.try_clone().map_err(ServerError::Listener)?);
        let mut current: Option<Session> = None;
        let mut failure = String::new();
        while wait_for_vmm(listener, stop)? {
            // One that comes when the one before it has just gone waits for the end of that session.
            current = current.and_then(|session| session.ended_after_disconnect(stop));
            if current.is_some() {
                self.reject_waiting("another one is connected");
                continue;
            }
            let admission = match Admission::ask(&self.name, self.policy.clone(), &self.state) {
                Ok(admission) => admission,
                Err(rejected) => {
                    self.reject(&rejected.to_string());
                    continue;
                }
            };
            match Session::start(&mut accepting, Arc::clone(&self.entropy), admission) {
                Ok(session) => current = Some(session),
                Err(error) => {
                    let reason = error.to_string();
                    if reason != failure {
                        log::error!("{}: cannot serve a VMM: {reason}; trying again", self.name);
                    }
                    failure = reason;
                    let mut stop = [PollFd::from_borrowed_fd(stop, PollFlags::IN)];
                    let _ = poll(&mut stop, Some(&PAUSE));
                }
            }
        }
        if let Some(session) = current {
            session.close();
        }
        Ok(())
    }

    /// Rejects all VMMs that wait by now: they have waited together.
    fn reject_waiting(&self, reason: &str) {
        // Not without end, if they come faster than they go.
        for _ in 0..MAX_REJECTIONS {
            if !self.reject(reason) {
                break;
            }
        }
    }

    /// Closes a connection, so that the VMM behind it fails at once and not when its guest starts.
    /// Returns whether there was one.
    fn reject(&self, reason: &str) -> bool {
        let name = &self.name;
        match self.listener.socket().accept() {
            Ok(_) => {
                log::warn!("{name}: rejected a VMM: {reason}");
                self.state.count_rejected();
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                log::warn!("{name}: cannot accept a VMM to reject it: {error}");
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
