//! One server while it runs: its device, and the clients that come for it.
//!
//! One client at a time has the device; it is served by a thread of its own, which ends with it.
//! The acceptor never waits for it: a client that connects while the session of one that has hung up
//! still ends becomes the pending client, and the same thread serves it next.

mod kept;
mod resting;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::accept_limiter::AcceptLimiter;
use super::admission::{AdmissionGuard, AdmissionPolicy};
use super::device_server::{Factory, InheritedClient, RecordedAs, Server, pci_function};
use super::listener::Listener;
use super::peer;
use super::state::ServerState;
use crate::pci::function::PciFunction;
use crate::protocol::connection_error::ConnectionError;
use crate::protocol::rejection::Rejection;
use crate::recording::Recorder;
use crate::session::{ClientLink, RestRequest, Session, SessionEnd};

/// How long a session may take to end after its client has gone.
pub(super) const SESSION_END_TIMEOUT: Duration = Duration::from_secs(1);
/// Stack of a session's thread in bytes. A stack without 2 MiB in one piece is never backed by a
/// huge page.
const SESSION_STACK: usize = 1 << 20;
/// Most clients that one socket accepts in [`ACCEPT_WINDOW`]. A client that connects in a loop costs
/// the other servers nothing.
const MAX_ACCEPTS: u32 = 100;
/// See [`MAX_ACCEPTS`].
const ACCEPT_WINDOW: Duration = Duration::from_millis(100);

/// A server in a set: its device, its listener, its clients.
pub(super) struct RunningServer {
    name: String,
    function: Mutex<PciFunction>,
    factory: Option<Factory>,
    policy: Option<Arc<dyn AdmissionPolicy>>,
    busy_poll: Duration,
    state: ServerState,
    recording: Option<RecordedAs>,
    clients: Mutex<Clients>,
    /// Notified when the last session has ended, or the session rests, or may go on.
    changed: Condvar,
    rest: RestRequest,
    /// Counts the clients that are being rejected.
    rejections: Arc<()>,
}

struct Clients {
    /// `None` once the server was removed.
    listener: Option<Listener>,
    current: Option<Current>,
    /// The client that gets the device when the current session has ended.
    pending: Option<PendingClient>,
    accepts: AcceptLimiter,
    /// The session at rest.
    suspended: Option<Box<ClientLink>>,
    /// A client of another process, whose session begins with [`RunningServer::start`].
    inherited: Option<InheritedClient>,
}

/// The client that has the device.
struct Current {
    /// Its socket as long as the session has it, to look at and to shut down.
    socket: Weak<OwnedFd>,
    process: Option<i32>,
}

/// A client that was accepted and has no session yet.
struct PendingClient {
    socket: Arc<OwnedFd>,
    process: Option<i32>,
    /// What another process has agreed on with it, and since when it has the device.
    resumed: Option<(Box<ClientLink>, Option<SystemTime>)>,
}

/// The result of accepting at a listener.
pub(super) enum Accepted {
    /// No client was there, or its session has started.
    Done,
    /// The client gets the device within [`SESSION_END_TIMEOUT`], or is rejected by
    /// [`RunningServer::expire_pending`].
    Pending(Weak<OwnedFd>),
    /// Another client has the device; this one is to be answered with an error.
    Rejected(Arc<OwnedFd>),
    /// Too many clients in a short time: accept the next one at that time.
    PausedUntil(Instant),
}

impl RunningServer {
    pub fn new(server: Server) -> Arc<Self> {
        let Server {
            listener,
            function,
            factory,
            options,
            policy,
            state,
            client,
            recording,
            entry,
        } = server;
        let name = listener.name().to_owned();
        let clients = Clients {
            listener: Some(listener),
            current: None,
            pending: None,
            accepts: AcceptLimiter::new(MAX_ACCEPTS, ACCEPT_WINDOW),
            suspended: None,
            inherited: client,
        };
        let server = RunningServer {
            name,
            function: Mutex::new(function),
            factory,
            policy,
            busy_poll: options.busy_poll,
            state,
            recording,
            clients: Mutex::new(clients),
            changed: Condvar::new(),
            rest: RestRequest::default(),
            rejections: Arc::new(()),
        };
        server.keep_from_now_on(entry);
        Arc::new(server)
    }

    /// Calls `act` with the listening socket, unless the server was removed.
    pub fn with_socket<T>(&self, act: impl FnOnce(&dyn AsFd) -> T) -> Option<T> {
        self.clients().listener.as_ref().map(|listener| act(listener.socket()))
    }

    /// Accepts one client, if there is one, and starts its session, unless another one is there.
    /// Never waits.
    ///
    /// # Errors
    /// accept(2) failed, for want of descriptors for example.
    pub fn accept(self: &Arc<Self>) -> io::Result<Accepted> {
        let mut clients = self.clients();
        let Clients { listener: Some(listener), accepts, .. } = &mut *clients else {
            return Ok(Accepted::Done);
        };
        if let Err(then) = accepts.try_accept(Instant::now()) {
            return Ok(Accepted::PausedUntil(then));
        }
        let client = match listener.socket().accept() {
            Ok((client, _)) => PendingClient::new(client)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Accepted::Done),
            Err(error) => return Err(error),
        };
        let Some(current) = &clients.current else {
            self.start_session(&mut clients, client);
            return Ok(Accepted::Done);
        };
        let slot_is_free =
            clients.pending.as_ref().is_none_or(|pending| peer::hung_up(&pending.socket));
        if current.has_gone() && slot_is_free {
            let socket = Arc::downgrade(&client.socket);
            clients.pending = Some(client);
            return Ok(Accepted::Pending(socket));
        }
        let reason = format!("{} is connected", peer::name(current.process));
        drop(clients);
        self.rejected(client.process, &reason);
        Ok(Accepted::Rejected(client.socket))
    }

    /// Takes a pending client whose time is over. `None` if it was served or has gone.
    pub fn expire_pending(&self, client: &Weak<OwnedFd>) -> Option<Arc<OwnedFd>> {
        let socket = client.upgrade()?;
        let mut clients = self.clients();
        let pending = clients.pending.take_if(|pending| Arc::ptr_eq(&pending.socket, &socket))?;
        drop(clients);
        self.rejected(pending.process, "the session before it does not end");
        Some(socket)
    }

    /// Counts one more rejection, until the value is dropped.
    pub fn rejections(&self) -> Arc<()> {
        Arc::clone(&self.rejections)
    }

    /// Closes the socket, removes its file and ends the session, without waiting for that.
    pub fn close(&self) {
        let mut clients = self.clients();
        clients.listener = None;
        clients.pending = None;
        if let Some(socket) = clients.current.as_ref().and_then(|current| current.socket.upgrade())
        {
            // An error means that the connection has ended on its own.
            let _ = shutdown(&socket, Shutdown::Both);
        }
        drop(clients);
        // A session at rest sees that, too.
        self.go_on();
    }

    /// Warns, with the server's name.
    pub fn warn(&self, text: fmt::Arguments<'_>) {
        log::warn!("{}: {text}", self.name);
    }

    fn rejected(&self, process: Option<i32>, reason: &str) {
        self.state.count_rejected();
        self.warn(format_args!("rejected {}: {reason}", peer::name(process)));
    }

    fn start_session(self: &Arc<Self>, clients: &mut Clients, client: PendingClient) {
        clients.current = Some(client.as_current());
        let server = Arc::clone(self);
        let thread = thread::Builder::new().name("session".into()).stack_size(SESSION_STACK);
        if let Err(error) = thread.spawn(move || server.serve_in_turn(client)) {
            clients.current = None;
            self.warn(format_args!("cannot serve a client: {error}"));
        }
    }

    /// The whole life of a session's thread.
    fn serve_in_turn(&self, first: PendingClient) {
        #[cfg(feature = "sandbox")]
        crate::sandbox::SESSION.enter();
        self.rest.run_by_this_thread();
        let mut client = first;
        loop {
            let peer = peer::name(client.process);
            if catch_unwind(AssertUnwindSafe(|| self.serve(client))).is_err() {
                log::error!("{}: a bug of the kit ended the session of {peer}", self.name);
            }
            let mut clients = self.clients();
            let Some(next) = clients.pending.take() else {
                clients.current = None;
                self.changed.notify_all();
                return;
            };
            clients.current = Some(next.as_current());
            client = next;
        }
    }

    fn serve(&self, client: PendingClient) {
        let PendingClient { socket, process, resumed } = client;
        let _pass = match AdmissionGuard::ask(self.policy.as_deref()) {
            Ok(guard) => guard,
            Err(reason) => {
                self.rejected(process, &reason.to_string());
                return Rejection::new(socket, Errno::USERS).finish();
            }
        };
        let (suspended, since) = resumed.map_or((None, None), |(at, since)| (Some(at), since));
        if suspended.is_none() {
            if let Err(reason) = self.replace_after_panic(&mut self.function()) {
                self.rejected(process, &reason);
                return Rejection::new(socket, Errno::NODEV).finish();
            }
        }
        let _connected = match since {
            Some(since) => self.state.connected_since(process, since),
            None => self.state.connected(process),
        };
        self.keep_clients();
        let peer = peer::name(process);
        log::info!("{}: {peer} connected", self.name);
        let recorder = self.record_session(process, suspended.is_some());
        let end = self.serve_until_end(socket, suspended);
        recorder.end(&end.to_string());
        match end {
            ConnectionError::Closed => log::info!("{}: {peer} disconnected", self.name),
            end => self.warn(format_args!("{peer} disconnected: {end}")),
        }
    }

    /// Begins the records of a session, if this server has a recording.
    fn record_session(&self, process: Option<i32>, resumed: bool) -> Recorder {
        let Some(RecordedAs { recording, device }) = &self.recording else {
            return Recorder::default();
        };
        recording.begin_session((&self.name, device), process, resumed, &mut self.function())
    }

    /// Runs the session of a client until the connection ends, also after it has rested.
    fn serve_until_end(
        &self,
        socket: Arc<OwnedFd>,
        suspended: Option<Box<ClientLink>>,
    ) -> ConnectionError {
        // The session alone has the socket from now on.
        let mut client = suspended.unwrap_or_else(|| Box::new(ClientLink::new(socket)));
        loop {
            let mut function = self.function();
            let session = Session::new(*client, &mut function, self.busy_poll);
            let session = session.with_rest_request(&self.rest);
            match catch_unwind(AssertUnwindSafe(|| session.run())) {
                Ok(SessionEnd::Closed(end)) => return end,
                Ok(SessionEnd::Suspended(at_rest)) => {
                    drop(function);
                    match self.rest_until_asked_to_go_on(at_rest) {
                        Some(rested) => client = rested,
                        None => return ConnectionError::Closed,
                    }
                }
                Err(panic) => {
                    // The client's memory and descriptors go with it all the same.
                    function.disconnect();
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    /// Replaces a device that has panicked: its state is not to be trusted with another client.
    fn replace_after_panic(&self, function: &mut PciFunction) -> Result<(), String> {
        let Some(panic) = function.panic().map(str::to_owned) else { return Ok(()) };
        let Some(factory) = &self.factory else {
            return Err(format!("the device panicked at {panic}; start this program again"));
        };
        let made = factory().map_err(|error| error.to_string());
        let made = made.and_then(|device| pci_function(device).map_err(|error| error.to_string()));
        let ledger = function.bus.ledger.take();
        let made = made.map_err(|error| {
            format!("the device panicked at {panic}, and cannot be made anew: {error}")
        });
        let made = made.map(|made| *function = made);
        function.bus.ledger = ledger;
        made?;
        log::info!("{}: the device was made anew after its panic", self.name);
        Ok(())
    }

    pub(super) fn function(&self) -> MutexGuard<'_, PciFunction> {
        self.function.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingClient {
    fn new(client: UnixStream) -> io::Result<Self> {
        // accept(2) does not hand the listener's O_NONBLOCK down on Linux; recvmsg has to block.
        client.set_nonblocking(false)?;
        let process = peer::process_id(client.as_fd());
        let socket = Arc::new(client.into());
        Ok(PendingClient { socket, process, resumed: None })
    }

    /// A client that another process has served so far.
    fn inherited(client: InheritedClient) -> Self {
        let InheritedClient { process, since, session } = client;
        let socket = Arc::clone(session.socket());
        PendingClient { socket, process, resumed: Some((session, since)) }
    }

    fn as_current(&self) -> Current {
        Current { socket: Arc::downgrade(&self.socket), process: self.process }
    }
}

impl Current {
    /// Whether the session is about to end, or has.
    fn has_gone(&self) -> bool {
        self.socket.upgrade().is_none_or(|socket| peer::hung_up(&socket))
    }
}
