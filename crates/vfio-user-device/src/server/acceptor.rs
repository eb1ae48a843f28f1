//! The thread that accepts clients, of all servers of a program.
//!
//! It waits at all sockets (epoll(7)) and starts sessions, each of which has a thread of its own.
//! Nothing in here waits for one client or one device, so that none of them can keep another
//! server's clients waiting.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::error::ServerError;
use super::registry::{EXCHANGE, Registry, STOP};
use super::running::{Accepted, RunningServer, SESSION_END_TIMEOUT};
use crate::descriptors::with_remedy;
use crate::protocol::rejection::{REJECTION_TIMEOUT, Rejection};

/// How long to leave a listener socket alone that accept(2) has failed on, for want of
/// descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most clients of one server that are rejected with an answer at once.
const MAX_REJECTIONS: usize = 16;
/// Events that are taken from the kernel at once.
const EVENTS: usize = 64;

/// What is to be done later.
enum Task {
    /// Look at a server's socket again.
    Resume(Arc<RunningServer>, u64),
    /// Stop letting a client wait for the end of the session before its own.
    GiveUp(Arc<RunningServer>, Weak<OwnedFd>),
    /// Stop waiting for what a rejected client has to say.
    Reject { rejection: Rejection, _counted: Arc<()> },
}

/// What the thread has to do.
pub(super) struct Acceptor<'s> {
    registry: &'s Registry,
    /// By keys of their own.
    tasks: HashMap<u64, Task>,
    /// When which task is due, if it is still there then.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl<'s> Acceptor<'s> {
    pub fn new(registry: &'s Registry) -> Self {
        Acceptor { registry, tasks: HashMap::new(), due: BinaryHeap::new() }
    }

    /// The loop.
    pub fn run(mut self) -> Result<(), ServerError> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let timeout = self.due.peek().map(|Reverse((then, _))| {
                let left = then.saturating_duration_since(Instant::now());
                // A second at most, which fits.
                Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 })
            });
            events.clear();
            match epoll::wait(&self.registry.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(ServerError::listen(errno)),
            }
            for event in &events {
                match event.data.u64() {
                    STOP => return Ok(()),
                    EXCHANGE => {
                        if self.registry.exchange() {
                            return Ok(());
                        }
                    }
                    key => self.receive(key),
                }
            }
            self.do_what_is_due();
        }
    }

    /// One client at a time from each socket, so that all of them have their turn.
    fn receive(&mut self, key: u64) {
        if let Some(server) = self.registry.server(key) {
            self.accept(key, server);
        } else if let Some(Task::Reject { rejection, .. }) = self.tasks.get_mut(&key) {
            if rejection.advance() {
                self.tasks.remove(&key);
            }
        }
    }

    fn accept(&mut self, key: u64, server: Arc<RunningServer>) {
        match server.accept() {
            Ok(Accepted::Done) => {}
            Ok(Accepted::Pending(client)) => {
                self.later(SESSION_END_TIMEOUT, Task::GiveUp(server, client))
            }
            Ok(Accepted::Rejected(client)) => self.reject(client, &server),
            Ok(Accepted::PausedUntil(then)) => {
                let left = then.saturating_duration_since(Instant::now());
                self.pause(key, server, left);
            }
            Err(error) => {
                let error = with_remedy(&error);
                server.warn(format_args!("cannot accept clients: {error}; trying again"));
                self.pause(key, server, ACCEPT_PAUSE);
            }
        }
    }

    fn pause(&mut self, key: u64, server: Arc<RunningServer>, pause: Duration) {
        self.registry.ignore(&server);
        self.later(pause, Task::Resume(server, key));
    }

    /// Answers a client as soon as it has asked. Of very many at once the surplus is just closed.
    fn reject(&mut self, client: Arc<OwnedFd>, server: &RunningServer) {
        let counter = server.rejections();
        if Arc::strong_count(&counter) > MAX_REJECTIONS {
            return;
        }
        let mut rejection = Rejection::new(client, Errno::BUSY);
        if rejection.advance() {
            return;
        }
        let key = self.registry.new_key();
        let data = EventData::new_u64(key);
        // Without it the client is answered late.
        let _ = epoll::add(&self.registry.epoll, &rejection, data, EventFlags::IN);
        self.tasks.insert(key, Task::Reject { rejection, _counted: counter });
        self.due.push(Reverse((Instant::now() + REJECTION_TIMEOUT, key)));
    }

    fn later(&mut self, wait: Duration, task: Task) {
        let key = self.registry.new_key();
        self.tasks.insert(key, task);
        self.due.push(Reverse((Instant::now() + wait, key)));
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        while self.due.peek().is_some_and(|Reverse((then, _))| *then <= now) {
            let task = self.due.pop().and_then(|Reverse((_, key))| self.tasks.remove(&key));
            match task {
                Some(Task::Resume(server, key)) => {
                    if let Err(errno) = self.registry.watch(key, &server) {
                        server.warn(format_args!("cannot wait for clients: {errno}; trying again"));
                        self.later(ACCEPT_PAUSE, Task::Resume(server, key));
                    }
                }
                Some(Task::GiveUp(server, client)) => {
                    if let Some(client) = server.expire_pending(&client) {
                        self.reject(client, &server);
                    }
                }
                Some(Task::Reject { mut rejection, .. }) => {
                    rejection.advance();
                }
                None => {}
            }
        }
    }
}
