//! A server in this process, and sources to put behind it.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use entropy::limiter::Limit;
use entropy::service::Entropy;
use entropy::source::{ReadOutcome, Source};
use my_rng_server::vhost_user;
use tempfile::TempDir;
use vfio_user_device::Waker;
use vfio_user_device::server::{AdmissionPolicy, ServerState};

/// How long anything may take before a test fails.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Waits until it is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < TEST_TIMEOUT, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A source that has the bytes which the test puts into it.
#[derive(Clone)]
pub struct Scripted {
    bytes: Arc<Mutex<VecDeque<u8>>>,
    waker: Waker,
}

impl Scripted {
    pub fn empty() -> Self {
        Scripted { bytes: Arc::default(), waker: Waker::new().unwrap() }
    }

    /// The numbers from 0, 251 of them again and again: a stretch that is missing shows.
    pub fn counting() -> Self {
        let source = Scripted::empty();
        source.put(counted(0, 1 << 20));
        source
    }

    pub fn put(&self, bytes: impl IntoIterator<Item = u8>) {
        self.bytes.lock().unwrap().extend(bytes);
        self.waker.wake();
    }

    pub fn entropy(&self, limit: Option<Limit>) -> Entropy {
        Entropy::new(Box::new(self.clone()), self.waker.clone(), limit)
    }
}

impl Source for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        let mut bytes = self.bytes.lock().unwrap();
        let count = buffer.len().min(bytes.len());
        for (to, from) in buffer.iter_mut().zip(bytes.drain(..count)) {
            *to = from;
        }
        if count == 0 { ReadOutcome::Pending } else { ReadOutcome::Bytes(count) }
    }
}

/// What [`Scripted::counting`] gives from there on.
pub fn counted(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|number| (number % 251) as u8).collect()
}

/// A server that runs until the value goes.
pub struct TestServer {
    pub folder: TempDir,
    pub state: ServerState,
    stop: Waker,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    pub fn start(entropy: Entropy) -> Self {
        TestServer::run(entropy, |server| server)
    }

    pub fn start_with_policy(entropy: Entropy, policy: Arc<dyn AdmissionPolicy>) -> Self {
        TestServer::run(entropy, |server| server.with_admission_policy(policy))
    }

    fn run(
        entropy: Entropy,
        change: impl FnOnce(vhost_user::Server) -> vhost_user::Server,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let server = change(vhost_user::Server::bind(&path, 0o600, entropy).unwrap());
        let state = server.state();
        let stop = Waker::new().unwrap();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || server.run(stopped.as_fd()).unwrap());
        TestServer { folder, state, stop, thread: Some(thread) }
    }

    /// One that gives [counted] bytes without end.
    pub fn counting() -> Self {
        TestServer::start(Scripted::counting().entropy(None))
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Stops it, and waits for that.
    pub fn stop(&mut self) {
        self.stop.wake();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
