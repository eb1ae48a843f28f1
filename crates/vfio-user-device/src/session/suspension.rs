//! A session that rests: its client stays connected, and another thread or process goes on with it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use rustix::thread::{Pid, gettid};
use serde::{Deserialize, Serialize};

use super::{MAX_DMA_MESSAGE_LEN, Session};
use crate::exchange::interruption;
use crate::keeper::Pending;
use crate::protocol::connection::{Connection, ConnectionState};
use crate::protocol::connection_error::ConnectionError;
use crate::state::{Descriptors, FdNumber, Hex, StateError};

/// How long a session waits until its device accesses no guest memory.
const IDLE_TIMEOUT: Duration = Duration::from_millis(50);
/// How often it looks whether it is still to rest.
const LOOK: Duration = Duration::from_millis(5);

/// How another thread asks a session to rest. A session looks at it between two messages.
#[derive(Debug, Default)]
pub(crate) struct RestRequest {
    requested: AtomicBool,
    /// The session's thread; 0 while there is none.
    thread: AtomicI32,
}

impl RestRequest {
    /// The session is run by the calling thread from now on.
    pub fn run_by_this_thread(&self) {
        self.thread.store(gettid().as_raw_nonzero().get(), Ordering::Release);
    }

    /// Asks, or takes it back.
    pub fn set(&self, requested: bool) {
        self.requested.store(requested, Ordering::Release);
    }

    /// Interrupts the wait for a message, if the session is in one. One that is about to begin is
    /// not interrupted: to be called again until the session rests.
    pub fn interrupt(&self) {
        if let Some(thread) = Pid::from_raw(self.thread.load(Ordering::Acquire)) {
            interruption::interrupt(thread);
        }
    }

    /// Whether the session is to rest.
    pub fn is_set(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }
}

/// What a session has agreed on with its client, and the connection: all that is left of it at rest.
pub(crate) struct ClientLink {
    pub(super) connection: Connection,
    /// The second socket, for commands of the server, if it was agreed on.
    pub(super) twin: Option<Connection>,
    /// A version was agreed on.
    pub(super) negotiated: bool,
    /// Whether a reply may have a file descriptor.
    pub(super) takes_fds: bool,
    /// Most bytes of data in a message to the client.
    pub(super) largest_dma: usize,
    /// What the process before this one has not sent to the client.
    pub(super) unsent: Option<Unsent>,
}

/// Bytes for the client, and the descriptor that goes with the first of them.
pub(crate) struct Unsent {
    pub bytes: Vec<u8>,
    pub fd: Option<OwnedFd>,
}

/// A session as a value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionState {
    connection: ConnectionState,
    twin: Option<ConnectionState>,
    negotiated: bool,
    client_takes_fds: bool,
    largest_dma: usize,
    /// Answers that wait for the end of an access to guest memory. In a new process nothing is accessed.
    #[serde(default, skip_serializing_if = "Hex::is_empty")]
    deferred: Hex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unsent: Option<UnsentState>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsentState {
    bytes: Hex,
    fd: Option<FdNumber>,
}

impl SessionState {
    /// The state of a session whose process was killed: with what that had received and not carried out,
    /// and not sent.
    pub fn with_pending(mut self, pending: Pending) -> Self {
        let numbers = pending.received_fds.into_iter().filter_map(FdNumber::own).collect();
        self.connection.append(&pending.received, numbers, pending.too_many_fds);
        let before = self.unsent.take().filter(|_| pending.unsent.is_empty());
        let (bytes, fd) = match before {
            Some(UnsentState { bytes, fd }) => (bytes.0, fd),
            None => (pending.unsent, pending.unsent_fd.and_then(FdNumber::own)),
        };
        let deferred = std::mem::take(&mut self.deferred).0;
        let bytes = Hex([bytes, deferred].concat());
        self.unsent = Some(UnsentState { bytes, fd }).filter(|unsent| !unsent.bytes.is_empty());
        self
    }
}

impl ClientLink {
    /// With a client that has said nothing yet.
    pub fn new(socket: Arc<OwnedFd>) -> Self {
        ClientLink {
            connection: Connection::new(socket),
            twin: None,
            negotiated: false,
            takes_fds: true,
            largest_dma: MAX_DMA_MESSAGE_LEN,
            unsent: None,
        }
    }

    /// Saves it.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn save(&mut self, fds: &mut Descriptors) -> Result<SessionState, StateError> {
        Ok(SessionState {
            connection: self.connection.save(fds)?,
            twin: self.twin.as_mut().map(|twin| twin.save(fds)).transpose()?,
            negotiated: self.negotiated,
            client_takes_fds: self.takes_fds,
            largest_dma: self.largest_dma,
            deferred: Hex::default(),
            unsent: self.unsent.as_ref().map(|unsent| unsent.save(fds)).transpose()?,
        })
    }

    /// Makes one of a value.
    ///
    /// # Errors
    /// The value does not make sense.
    pub fn restore(state: SessionState, fds: &mut Descriptors) -> Result<Self, StateError> {
        let twin = state.twin.map(|twin| Connection::restore(twin, fds)).transpose()?;
        let unsent = state.unsent.map(|unsent| Unsent::restore(unsent, fds)).transpose()?;
        Ok(ClientLink {
            connection: Connection::restore(state.connection, fds)?,
            twin,
            negotiated: state.negotiated,
            takes_fds: state.client_takes_fds,
            largest_dma: state.largest_dma.min(MAX_DMA_MESSAGE_LEN),
            unsent,
        })
    }

    /// The client's socket.
    pub fn socket(&self) -> &Arc<OwnedFd> {
        self.connection.socket()
    }
}

impl Unsent {
    fn save(&self, fds: &mut Descriptors) -> Result<UnsentState, StateError> {
        let fd = fds.add_some(self.fd.as_ref().map(AsFd::as_fd))?;
        Ok(UnsentState { bytes: Hex(self.bytes.clone()), fd })
    }

    fn restore(state: UnsentState, fds: &mut Descriptors) -> Result<Self, StateError> {
        Ok(Unsent { bytes: state.bytes.0, fd: fds.take_some(state.fd)? })
    }
}

impl<'f> Session<'f> {
    /// Saves it while it is served.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub(super) fn save(&mut self, fds: &mut Descriptors) -> Result<SessionState, StateError> {
        let deferred = Hex(self.deferred_answers());
        Ok(SessionState { deferred, ..self.client.save(fds)? })
    }

    /// Lets a session rest when it is asked to.
    pub fn with_rest_request(mut self, rest: &'f RestRequest) -> Self {
        self.rest = Some(rest);
        self
    }

    pub(super) fn is_to_rest(&self) -> bool {
        self.rest.is_some_and(RestRequest::is_set)
    }

    /// Brings accesses to guest memory to their end, while the client's messages are answered. A
    /// device that begins new ones all the time has them held back after a while: its next message
    /// is not sent. Returns false if the session is not to rest any more.
    pub(super) fn come_to_rest(&mut self) -> Result<bool, ConnectionError> {
        let hold = Instant::now() + IDLE_TIMEOUT;
        loop {
            self.advance()?;
            let bus = &mut self.commands.function.bus;
            let now = Instant::now();
            let held = now >= hold;
            if held {
                bus.dma.hold(true);
            }
            let ready = bus.is_ready();
            let waits =
                bus.dma.is_in_flight() || self.deferred.is_some() || self.stopping.is_some();
            if !ready && !waits && (held || bus.dma.is_empty() || bus.stopped) {
                return Ok(true);
            }
            if !self.is_to_rest() {
                self.commands.function.bus.dma.hold(false);
                return Ok(false);
            }
            self.wait(Some(if ready { now } else { now + LOOK }))?;
            self.serve_twin()?;
            self.serve_message(RecvFlags::DONTWAIT)?;
        }
    }
}
