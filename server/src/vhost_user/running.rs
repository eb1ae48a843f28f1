//! A server in a thread of its own.

use std::io;
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};

use vfio_user_kit::Waker;

use super::Server;

/// A server that runs until this value goes.
#[derive(Debug)]
pub struct Running {
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
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("vhost-user".into()).spawn(move || {
            if let Err(error) = server.run(stopped.as_fd()) {
                log::error!("{error}");
            }
        })?;
        Ok(Running { stop, thread: Some(thread) })
    }

    /// Tells it to stop, which happens soon. For those who stop many.
    pub fn stop(&self) {
        self.stop.wake();
    }

    /// Stops it, and waits until its socket's file is gone: a second at most.
    pub fn wait(&mut self) {
        self.stop();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("vhost-user: a server panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.wait();
    }
}
