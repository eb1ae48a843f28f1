//! A server in a thread of its own.

use std::io;
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vfio_user_device::Waker;

use super::Server;

/// How long a server may take to end: as its session may, and some more.
const END: Duration = Duration::from_secs(2);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(1);

/// A server that runs until this value goes.
#[derive(Debug)]
pub struct Running {
    name: String,
    stop: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Runs a server in the background.
    ///
    /// # Errors
    /// Threads or descriptors run out.
    pub fn start(server: Server) -> io::Result<Self> {
        let stop = Waker::new()?;
        let (name, stopped) = (server.name().to_owned(), stop.clone());
        let served = name.clone();
        let thread = thread::Builder::new().name("vhost-user".into()).spawn(move || {
            super::VHOST_USER.enter();
            if let Err(error) = server.run(stopped.as_fd()) {
                log::error!("{served}: {error}");
            }
        })?;
        Ok(Running { name, stop, thread: Some(thread) })
    }

    /// Tells it to stop, without waiting. For a caller that stops many.
    pub fn stop(&self) {
        self.stop.wake();
    }

    /// Stops it, and waits until its socket's file is gone: a second or two at most. A server that
    /// waits for a VMM which another process with the same socket has taken is left behind.
    pub fn wait(&mut self) {
        self.stop();
        let Some(thread) = self.thread.take() else { return };
        let begun = Instant::now();
        while !thread.is_finished() {
            if begun.elapsed() >= END {
                return log::warn!("{}: its server does not end, and is left behind", self.name);
            }
            thread::park_timeout(LOOK);
        }
        if thread.join().is_err() {
            log::error!("{}: its server panicked", self.name);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.wait();
    }
}
