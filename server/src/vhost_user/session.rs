//! One VMM's connection.
//!
//! rust-vmm has a thread for the protocol and one for the queue; a third waits for the connection's
//! end and takes both down.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vfio_user_kit::{Gate, Refused, Waker, Watch};
use vhost::vhost_user::{Error as ProtocolError, Listener};
use vhost_user_backend::{Error, ShutdownHandle, VhostUserDaemon};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use super::backend::Backend;
use super::log::DriverLog;
use crate::entropy::Entropy;

/// How often to look whether a session has ended.
const LOOK: Duration = Duration::from_millis(1);

/// Why a VMM cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Descriptors or threads run out.
    #[error(transparent)]
    Resources(#[from] io::Error),
    /// rust-vmm's crate cannot start, or not accept. Its own error has no source.
    #[error("{0}")]
    Backend(String),
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        StartError::Backend(error.to_string())
    }
}

/// What ends with a session: the gate hears of it, and whoever watches.
pub struct Stay {
    name: String,
    gate: Option<Arc<dyn Gate>>,
    watch: Watch,
}

impl Stay {
    /// Asks the gate; without one every VMM is admitted.
    ///
    /// # Errors
    /// The gate's reason.
    pub fn ask(name: &str, gate: Option<Arc<dyn Gate>>, watch: &Watch) -> Result<Self, Refused> {
        if let Some(gate) = &gate {
            gate.admit()?;
        }
        Ok(Stay { name: name.to_owned(), gate, watch: watch.clone() })
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(gate) = &self.gate {
            gate.left();
        }
    }
}

/// A VMM that is being served.
pub struct Session {
    thread: JoinHandle<()>,
    shutdown: Option<ShutdownHandle>,
}

impl Session {
    /// Accepts a VMM, which has to be there, and serves it.
    ///
    /// # Errors
    /// Resources run out, or the VMM cannot be accepted. It may still wait for that then.
    pub fn start(
        listener: &mut Listener,
        entropy: Arc<Mutex<Entropy>>,
        stay: Stay,
    ) -> Result<Self, StartError> {
        let mut service = Service::new(entropy, &stay.name)?;
        service.daemon.start(listener)?;
        log::info!("{}: a VMM connected", stay.name);
        let shutdown = service.daemon.shutdown_handle();
        let waiting = move || {
            let stay = stay;
            let _connected = stay.watch.connected(None);
            report(&stay.name, service.daemon.wait());
            // The queue's thread ends before the stay does.
            drop(service);
        };
        let thread = thread::Builder::new().name("session".into()).spawn(waiting)?;
        Ok(Session { thread, shutdown })
    }

    /// Waits for its end, at most so long. Returns itself if it does not come.
    pub fn ended_within(self, time: Duration) -> Option<Session> {
        let begun = Instant::now();
        while !self.thread.is_finished() {
            if begun.elapsed() >= time {
                return Some(self);
            }
            thread::park_timeout(LOOK);
        }
        if self.thread.join().is_err() {
            log::error!("vhost-user: a session panicked");
        }
        None
    }

    /// Ends the connection, which takes a moment.
    pub fn close(&self) {
        if let Some(shutdown) = &self.shutdown {
            shutdown.shutdown();
        }
    }
}

/// rust-vmm's threads.
struct Service {
    daemon: VhostUserDaemon<Arc<Mutex<Backend>>>,
    stop: Waker,
}

impl Service {
    fn new(entropy: Arc<Mutex<Entropy>>, name: &str) -> Result<Self, StartError> {
        let stop = Waker::new()?;
        let backend = Backend::new(entropy, stop.clone(), DriverLog::new(name))?;
        let events = backend.events();
        let backend = Arc::new(Mutex::new(backend));
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let daemon = VhostUserDaemon::new("vhost-user".into(), backend, memory)?;
        let service = Service { daemon, stop };
        for event_loop in service.daemon.get_epoll_handlers() {
            for (descriptor, event) in events {
                event_loop.register_listener(descriptor, EventSet::IN, event)?;
            }
        }
        Ok(service)
    }
}

impl Drop for Service {
    /// Without this the daemon would wait for the queue's thread for ever. (The crate's own way,
    /// `exit_event`, loses a descriptor each time.)
    fn drop(&mut self) {
        self.stop.wake();
    }
}

/// Says in the log how a connection ended.
fn report(name: &str, end: Result<(), Error>) {
    match end {
        Ok(()) | Err(Error::HandleRequest(ProtocolError::Disconnected)) => {
            log::info!("{name}: the VMM disconnected");
        }
        Err(Error::WaitDaemon(_)) => log::error!("{name}: the protocol's thread panicked"),
        Err(error) => log::warn!("{name}: the VMM was disconnected: {error}"),
    }
}
