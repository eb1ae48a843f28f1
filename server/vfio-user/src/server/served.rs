//! One server while it runs: its device, and the clients that come for it.
//!
//! One client at a time has the device; it is served by a thread of its own, which ends with it.
//! The thread that accepts clients never waits for that one: a client that comes when its
//! predecessor has hung up is put down as the next, and the predecessor's thread goes on with it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::gate::{Gate, Pass};
use super::listening::Listening;
use super::pace::Pace;
use super::watch::Watch;
use super::{Factory, Server};
use crate::host::Host;
use crate::peer;
use crate::session::{ConnectionError, Refusal, Session};

/// How long a session may take to end after its client has gone.
pub(super) const SESSION_END: Duration = Duration::from_secs(1);
/// Stack of a session's thread in bytes. A stack without 2 MiB in one piece is never backed by a
/// huge page.
const SESSION_STACK: usize = 1 << 20;
/// Most clients that are accepted at one socket in [`WINDOW`]. The others wait, and nobody else
/// pays for one that connects in a loop.
const ACCEPTS: u32 = 100;
/// See [`ACCEPTS`].
const WINDOW: Duration = Duration::from_millis(100);

/// A server that runs.
pub(super) struct Served {
    name: String,
    host: Mutex<Host>,
    factory: Option<Factory>,
    gate: Option<Arc<dyn Gate>>,
    busy_poll: Duration,
    watch: Watch,
    state: Mutex<State>,
    /// Told when there is no session any more.
    vacant: Condvar,
    /// Counts the clients that are being refused.
    refusals: Arc<()>,
}

struct State {
    /// `None` once the server was removed.
    listening: Option<Listening>,
    current: Option<Current>,
    /// Who gets the device as soon as the current client's session has ended.
    next: Option<Arrival>,
    accepts: Pace,
}

/// The client that has the device.
struct Current {
    /// Its socket as long as the session has it, to look at and to shut down.
    socket: Weak<OwnedFd>,
    peer: String,
}

/// A client that has just come.
struct Arrival {
    socket: Arc<OwnedFd>,
    process: Option<i32>,
    peer: String,
}

/// What became of a look at the listening socket.
pub(super) enum Accepted {
    /// Nobody was there, or has got the device.
    Done,
    /// Somebody has the device in [`SESSION_END`], or will be refused: see [`Served::give_up`].
    Waits(NextClient),
    /// Somebody is to be told that another one has the device.
    Refused(Arc<OwnedFd>),
    /// The socket is to be left alone until then.
    Pause(Instant),
}

/// A client that waits for the device.
pub(super) struct NextClient(Weak<OwnedFd>);

impl Served {
    pub fn new(server: Server) -> Arc<Self> {
        let Server { listening, host, factory, options, gate, watch } = server;
        let name = listening.name().to_owned();
        let state = State {
            listening: Some(listening),
            current: None,
            next: None,
            accepts: Pace::new(ACCEPTS, WINDOW),
        };
        Arc::new(Served {
            name,
            host: Mutex::new(host),
            factory,
            gate,
            busy_poll: options.busy_poll,
            watch,
            state: Mutex::new(state),
            vacant: Condvar::new(),
            refusals: Arc::new(()),
        })
    }

    /// Calls `look` with the listening socket, unless the server was removed.
    pub fn with_listener<T>(&self, look: impl FnOnce(&dyn AsFd) -> T) -> Option<T> {
        self.state().listening.as_ref().map(|listening| look(listening.listener()))
    }

    /// Accepts one client, if there is one, and starts its session, unless another one is there.
    /// Never waits.
    ///
    /// # Errors
    /// accept(2) failed, for want of descriptors for example.
    pub fn accept(self: &Arc<Self>) -> io::Result<Accepted> {
        let mut state = self.state();
        let State { listening: Some(listening), accepts, .. } = &mut *state else {
            return Ok(Accepted::Done);
        };
        if let Err(then) = accepts.step(Instant::now()) {
            return Ok(Accepted::Pause(then));
        }
        let client = match listening.listener().accept() {
            Ok((client, _)) => Arrival::new(client)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Accepted::Done),
            Err(error) => return Err(error),
        };
        let Some(current) = &state.current else {
            self.start_session(&mut state, client);
            return Ok(Accepted::Done);
        };
        let next_is_free = state.next.as_ref().is_none_or(|next| hung_up(&next.socket));
        if current.has_gone() && next_is_free {
            let number = NextClient(Arc::downgrade(&client.socket));
            state.next = Some(client);
            return Ok(Accepted::Waits(number));
        }
        let reason = format!("{} is connected", current.peer);
        drop(state);
        self.refused(&client.peer, &reason);
        Ok(Accepted::Refused(client.socket))
    }

    /// Takes a client back that has waited for long enough. `None` if it was served or has gone.
    pub fn give_up(&self, client: &NextClient) -> Option<Arc<OwnedFd>> {
        let socket = client.0.upgrade()?;
        let mut state = self.state();
        let next = state.next.take_if(|next| Arc::ptr_eq(&next.socket, &socket))?;
        drop(state);
        self.refused(&next.peer, "the session before it does not end");
        Some(socket)
    }

    /// One more that is being refused, until it goes.
    pub fn refusals(&self) -> Arc<()> {
        Arc::clone(&self.refusals)
    }

    /// Closes the socket, removes its file and ends the session, without waiting for that.
    pub fn close(&self) {
        let mut state = self.state();
        state.listening = None;
        state.next = None;
        if let Some(socket) = state.current.as_ref().and_then(|current| current.socket.upgrade()) {
            // An error means that the connection has ended on its own.
            let _ = shutdown(&socket, Shutdown::Both);
        }
    }

    /// Waits for the end of the session. One that does not end (a device that hangs in one of its
    /// verbs) is left behind.
    pub fn wait_until_vacant(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.vacant.wait_timeout_while(self.state(), left, |s| s.current.is_some());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(stuck) = &state.current {
            log::error!("{}: the session of {} does not end", self.name, stuck.peer);
        }
    }

    /// Warns, with the server's name.
    pub fn warn(&self, text: fmt::Arguments<'_>) {
        log::warn!("{}: {text}", self.name);
    }

    fn refused(&self, peer: &str, reason: &str) {
        self.watch.refused();
        self.warn(format_args!("refused {peer}: {reason}"));
    }

    fn start_session(self: &Arc<Self>, state: &mut State, client: Arrival) {
        state.current = Some(client.as_current());
        let served = Arc::clone(self);
        let thread = thread::Builder::new().name("session".into()).stack_size(SESSION_STACK);
        if let Err(error) = thread.spawn(move || served.serve_one_after_the_other(client)) {
            state.current = None;
            self.warn(format_args!("cannot serve a client: {error}"));
        }
    }

    /// The whole life of a session's thread.
    fn serve_one_after_the_other(&self, first: Arrival) {
        let mut client = first;
        loop {
            let peer = client.peer.clone();
            if catch_unwind(AssertUnwindSafe(|| self.serve(client))).is_err() {
                log::error!("{}: a bug of the kit ended the session of {peer}", self.name);
            }
            let mut state = self.state();
            let Some(next) = state.next.take() else {
                state.current = None;
                self.vacant.notify_all();
                return;
            };
            state.current = Some(next.as_current());
            client = next;
        }
    }

    fn serve(&self, client: Arrival) {
        let Arrival { socket, process, peer } = client;
        let _pass = match Pass::ask(self.gate.as_deref()) {
            Ok(pass) => pass,
            Err(reason) => {
                self.refused(&peer, &reason.to_string());
                return Refusal::new(socket, Errno::USERS).finish();
            }
        };
        let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(reason) = self.replace_after_panic(&mut host) {
            self.refused(&peer, &reason);
            return Refusal::new(socket, Errno::NODEV).finish();
        }
        let _connected = self.watch.connected(process);
        log::info!("{}: {peer} connected", self.name);
        let session = Session::new(socket, &mut host, self.busy_poll);
        match catch_unwind(AssertUnwindSafe(|| session.run())) {
            Ok(ConnectionError::Closed) => log::info!("{}: {peer} disconnected", self.name),
            Ok(end) => self.warn(format_args!("{peer} disconnected: {end}")),
            Err(panic) => {
                // The client's memory and descriptors go with it all the same.
                host.disconnect();
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// Replaces a device that has panicked: its state is not to be trusted with another client.
    fn replace_after_panic(&self, host: &mut Host) -> Result<(), String> {
        let Some(panic) = host.panic() else { return Ok(()) };
        let Some(factory) = &self.factory else {
            return Err(format!("the device panicked at {panic}; start this program again"));
        };
        let made = factory().map_err(|error| error.to_string());
        let made = made.and_then(|device| super::host(device).map_err(|error| error.to_string()));
        *host = made.map_err(|error| {
            format!("the device panicked at {panic}, and cannot be made anew: {error}")
        })?;
        log::info!("{}: the device was made anew after its panic", self.name);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    fn new(client: UnixStream) -> io::Result<Self> {
        // accept(2) does not hand the listener's O_NONBLOCK down on Linux; recvmsg has to block.
        client.set_nonblocking(false)?;
        let process = peer::process_id(client.as_fd());
        let peer = process.map_or("client".into(), |id| format!("client (process {id})"));
        Ok(Arrival { socket: Arc::new(client.into()), process, peer })
    }

    fn as_current(&self) -> Current {
        Current { socket: Arc::downgrade(&self.socket), peer: self.peer.clone() }
    }
}

impl Current {
    /// Whether the session is about to end, or has.
    fn has_gone(&self) -> bool {
        self.socket.upgrade().is_none_or(|socket| hung_up(&socket))
    }
}

fn hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::RDHUP)
}
