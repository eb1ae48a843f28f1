//! One VMM's connection.
//!
//! rust-vmm has a thread for the protocol and one for the queue; a third waits for the connection's
//! end and takes both down.

use std::fmt::Display;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vfio_user_device::Waker;
use vfio_user_device::server::{AdmissionError, AdmissionPolicy, ServerState};
use vhost::vhost_user::{Error as ProtocolError, Listener};
use vhost_user_backend::{Error, ShutdownHandle, VhostUserDaemon};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use super::backend::Backend;
use entropy::service::Entropy;

/// How often to look whether a session has ended.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// How long a session may take to end after its VMM has disconnected.
const SESSION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the thread of the protocol may take to notice that the VMM has disconnected. A VMM that
/// comes while another one is connected is rejected after this time.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// An error of rust-vmm's crates, which have types of their own for them.
fn other(error: impl Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// The time of an admitted VMM. Its end is told to the policy.
pub struct Admission {
    /// The guest's name, for the log.
    name: String,
    policy: Option<Arc<dyn AdmissionPolicy>>,
    state: ServerState,
}

impl Admission {
    /// Asks the policy; without one every VMM is admitted.
    ///
    /// # Errors
    /// The policy's reason.
    pub fn ask(
        name: &str,
        policy: Option<Arc<dyn AdmissionPolicy>>,
        state: &ServerState,
    ) -> Result<Self, AdmissionError> {
        if let Some(policy) = &policy {
            policy.admit()?;
        }
        Ok(Admission { name: name.to_owned(), policy, state: state.clone() })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(policy) = &self.policy {
            policy.release();
        }
    }
}

/// A VMM that is being served.
pub struct Session {
    name: String,
    thread: JoinHandle<()>,
    shutdown: Option<ShutdownHandle>,
    /// Whether the VMM has disconnected. The session ends a moment later.
    disconnected: Arc<AtomicBool>,
}

impl Session {
    /// Accepts a VMM, which has to be there, and serves it.
    ///
    /// # Errors
    /// Resources run out, or the VMM cannot be accepted. It may still wait for that then.
    pub fn start(
        listener: &mut Listener,
        entropy: Arc<Mutex<Entropy>>,
        admission: Admission,
    ) -> io::Result<Self> {
        let mut service = Service::new(entropy, &admission.name)?;
        // With a socket that does not block, the crate would try again and again if another process
        // that has it, too, took the VMM first. So it waits for the next one.
        listener.set_nonblocking(false).map_err(other)?;
        let started = service.daemon.start(listener);
        listener.set_nonblocking(true).map_err(other)?;
        started.map_err(other)?;
        log::info!("{}: a VMM connected", admission.name);
        let shutdown = service.daemon.shutdown_handle();
        let (name, disconnected) = (admission.name.clone(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&disconnected);
        let waiting = move || {
            let admission = admission;
            let _connected = admission.state.connected(None);
            let end = service.daemon.wait();
            seen.store(true, Ordering::Release);
            report(&admission.name, end);
            // The queue's thread ends before the admission does.
            drop(service);
        };
        let thread = thread::Builder::new().name("session".into()).spawn(waiting)?;
        Ok(Session { name, thread, shutdown, disconnected })
    }

    /// Waits for its end if its VMM has disconnected, and for a moment to see that. Returns itself if
    /// the VMM is still connected, or if `stop` becomes readable.
    pub fn ended_after_disconnect(self, stop: BorrowedFd<'_>) -> Option<Session> {
        let disconnected = Arc::clone(&self.disconnected);
        self.wait(Some(stop), || {
            if disconnected.load(Ordering::Acquire) { SESSION_TIMEOUT } else { DISCONNECT_TIMEOUT }
        })
    }

    /// Ends the connection, and waits until the session has ended.
    pub fn close(self) {
        if let Some(shutdown) = &self.shutdown {
            shutdown.shutdown();
        }
        if let Some(session) = self.wait(None, || SESSION_TIMEOUT) {
            log::error!("{}: the session does not end", session.name);
        }
    }

    /// Waits for its end, at most so long. Returns itself if it does not come.
    fn wait(self, stop: Option<BorrowedFd<'_>>, timeout: impl Fn() -> Duration) -> Option<Session> {
        let begun = Instant::now();
        while !self.thread.is_finished() {
            if begun.elapsed() >= timeout() || self.rest(stop) {
                return Some(self);
            }
        }
        if self.thread.join().is_err() {
            log::error!("{}: the session panicked", self.name);
        }
        None
    }

    /// Does nothing for a moment. Returns whether `stop` has become readable.
    fn rest(&self, stop: Option<BorrowedFd<'_>>) -> bool {
        let stop = stop.map(|stop| PollFd::from_borrowed_fd(stop, PollFlags::IN));
        let mut fds: Vec<_> = stop.into_iter().collect();
        matches!(poll(&mut fds, Some(&LOOK)), Ok(1))
    }
}

/// rust-vmm's threads.
struct Service {
    daemon: VhostUserDaemon<Arc<Mutex<Backend>>>,
    stop: Waker,
}

impl Service {
    fn new(entropy: Arc<Mutex<Entropy>>, name: &str) -> io::Result<Self> {
        let stop = Waker::new()?;
        let backend = Backend::new(entropy, stop.clone(), name)?;
        let events = backend.events();
        let backend = Arc::new(Mutex::new(backend));
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let daemon = VhostUserDaemon::new("vhost-user".into(), backend, memory).map_err(other)?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use rustix::time::{ClockId, clock_gettime};

    use super::*;
    use entropy::source::Specification;

    /// The processor time of this thread in milliseconds.
    fn processor_time() -> i64 {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }

    #[test]
    fn a_vmm_that_another_process_has_taken_costs_no_processor_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let socket = UnixListener::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut listener = Listener::from(socket);
        let waker = Waker::new().unwrap();
        let source = Specification::default().open(waker.clone()).unwrap();
        let entropy = Arc::new(Mutex::new(Entropy::new(source, waker, None)));
        let admission = Admission::ask("test", None, &ServerState::default()).unwrap();
        let server = thread::spawn(move || {
            let before = processor_time();
            let session = Session::start(&mut listener, entropy, admission).unwrap();
            (processor_time() - before, session)
        });
        // No VMM waits, and then the next one connects.
        thread::sleep(Duration::from_millis(500));
        let vmm = UnixStream::connect(&path).unwrap();
        let (used, session) = server.join().unwrap();
        assert!(used < 100, "{used} ms of 500");
        drop(vmm);
        assert!(session.wait(None, || Duration::from_secs(20)).is_none());
    }
}
