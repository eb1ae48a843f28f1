//! Many servers in one program.
//!
//! One thread waits for clients at all the sockets (epoll(7)) and starts their sessions; each
//! session has a thread of its own. Nothing in here waits for one client or one device, so that
//! none of them can keep another server's clients waiting.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::served::{Accepted, NextClient, SESSION_END, Served};
use super::{Server, ServerError};
use crate::descriptors::with_remedy;
use crate::session::{REFUSAL_TIME, Refusal};

/// How long to leave a listening socket alone that accept(2) has failed on, for want of
/// descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most clients of one server that are refused with an answer at once.
const MAX_REFUSALS: usize = 16;
/// Events that are taken from the kernel at once.
const EVENTS: usize = 64;

/// What the descriptor that ends [`Servers::run`] is registered as.
const STOP: u64 = 0;

/// A server among others. It is never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

/// Servers that run side by side. A copy has the same servers, so that one thread can
/// [`run`](Servers::run) them while another adds and removes some.
#[derive(Clone)]
pub struct Servers(Arc<Shared>);

struct Shared {
    epoll: OwnedFd,
    servers: Mutex<HashMap<u64, Arc<Served>>>,
    /// For servers and refused clients alike.
    last_key: AtomicU64,
}

impl Servers {
    /// None yet.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn new() -> Result<Self, ServerError> {
        Ok(Servers(Arc::new(Shared {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            servers: Mutex::default(),
            last_key: AtomicU64::new(STOP),
        })))
    }

    /// Adds a server, which is served from now on if these are run.
    ///
    /// # Errors
    /// Memory or the user's epoll watches have run out.
    pub fn add(&self, server: Server) -> Result<Key, ServerError> {
        let key = self.0.new_key();
        let served = Served::new(server);
        self.0.servers().insert(key, Arc::clone(&served));
        if let Err(errno) = self.0.watch(key, &served) {
            self.0.servers().remove(&key);
            return Err(errno.into());
        }
        Ok(Key(key))
    }

    /// Removes servers, those that are there: their socket files go, and their clients. Waits until
    /// all the sessions have ended, for a second at most; one that is stuck in its device is left
    /// behind.
    pub fn remove(&self, keys: &[Key]) {
        let removed: Vec<_> = {
            let mut servers = self.0.servers();
            keys.iter().filter_map(|key| servers.remove(&key.0)).collect()
        };
        for served in &removed {
            // A socket that was passed can be open elsewhere, too, and would go on being looked at.
            self.0.ignore(served);
            served.close();
        }
        let deadline = Instant::now() + SESSION_END;
        removed.iter().for_each(|served| served.wait_until_vacant(deadline));
    }

    /// Serves clients until `stop` becomes readable, then removes all servers. One thread at a time
    /// can do so.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub fn run(&self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        self.run_and_then(stop, || {})
    }

    /// The same, and calls `ending` before the servers are removed: their clients are still there.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub fn run_and_then(
        &self,
        stop: BorrowedFd<'_>,
        ending: impl FnOnce(),
    ) -> Result<(), ServerError> {
        epoll::add(&self.0.epoll, stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let result = Reception::new(&self.0).run();
        // It cannot fail: it was added.
        let _ = epoll::delete(&self.0.epoll, stop);
        ending();
        let all: Vec<_> = self.0.servers().keys().copied().map(Key).collect();
        self.remove(&all);
        result
    }
}

impl Shared {
    fn new_key(&self) -> u64 {
        self.last_key.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<u64, Arc<Served>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self, key: u64) -> Option<Arc<Served>> {
        self.servers().get(&key).map(Arc::clone)
    }

    /// Looks at a server's socket from now on, unless it was removed.
    fn watch(&self, key: u64, served: &Served) -> Result<(), Errno> {
        let data = EventData::new_u64(key);
        let added = served.with_listener(|fd| epoll::add(&self.epoll, fd, data, EventFlags::IN));
        added.unwrap_or(Ok(()))
    }

    /// Does not look at it any more.
    fn ignore(&self, served: &Served) {
        // A socket that was closed in between is not looked at either.
        let _ = served.with_listener(|fd| epoll::delete(&self.epoll, fd));
    }
}

impl Drop for Shared {
    /// Sessions keep their device alive, and would keep the socket file.
    fn drop(&mut self) {
        self.servers().values().for_each(|served| served.close());
    }
}

/// What is to be done later.
enum Task {
    /// Look at a server's socket again.
    Resume(Arc<Served>, u64),
    /// Stop letting a client wait for the end of the session before its own.
    GiveUp(Arc<Served>, NextClient),
    /// Stop waiting for what a refused client has to say.
    Refuse { refusal: Refusal, _counted: Arc<()> },
}

/// The thread that receives clients.
struct Reception<'s> {
    shared: &'s Shared,
    /// By keys of their own.
    tasks: HashMap<u64, Task>,
    /// When which task is due, if it is still there then.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl<'s> Reception<'s> {
    fn new(shared: &'s Shared) -> Self {
        Reception { shared, tasks: HashMap::new(), due: BinaryHeap::new() }
    }

    /// The loop.
    fn run(mut self) -> Result<(), ServerError> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let timeout = self.due.peek().map(|Reverse((then, _))| {
                let left = then.saturating_duration_since(Instant::now());
                // A second at most, which fits.
                Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 })
            });
            events.clear();
            match epoll::wait(&self.shared.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            for event in &events {
                match event.data.u64() {
                    STOP => return Ok(()),
                    key => self.receive(key),
                }
            }
            self.do_what_is_due();
        }
    }

    /// One client at a time from each socket, so that all of them have their turn.
    fn receive(&mut self, key: u64) {
        if let Some(server) = self.shared.server(key) {
            self.accept(key, server);
        } else if let Some(Task::Refuse { refusal, .. }) = self.tasks.get_mut(&key) {
            if refusal.advance() {
                self.tasks.remove(&key);
            }
        }
    }

    fn accept(&mut self, key: u64, server: Arc<Served>) {
        match server.accept() {
            Ok(Accepted::Done) => {}
            Ok(Accepted::Waits(client)) => self.later(SESSION_END, Task::GiveUp(server, client)),
            Ok(Accepted::Refused(client)) => self.refuse(client, &server),
            Ok(Accepted::Pause(then)) => {
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

    fn pause(&mut self, key: u64, server: Arc<Served>, pause: Duration) {
        self.shared.ignore(&server);
        self.later(pause, Task::Resume(server, key));
    }

    /// Answers a client as soon as it has asked. Of very many at once the surplus is just closed.
    fn refuse(&mut self, client: Arc<OwnedFd>, server: &Served) {
        let counter = server.refusals();
        if Arc::strong_count(&counter) > MAX_REFUSALS {
            return;
        }
        let mut refusal = Refusal::new(client, Errno::BUSY);
        if refusal.advance() {
            return;
        }
        let key = self.shared.new_key();
        let data = EventData::new_u64(key);
        // Without it the client is answered late.
        let _ = epoll::add(&self.shared.epoll, &refusal, data, EventFlags::IN);
        self.tasks.insert(key, Task::Refuse { refusal, _counted: counter });
        self.due.push(Reverse((Instant::now() + REFUSAL_TIME, key)));
    }

    fn later(&mut self, wait: Duration, task: Task) {
        let key = self.shared.new_key();
        self.tasks.insert(key, task);
        self.due.push(Reverse((Instant::now() + wait, key)));
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        while self.due.peek().is_some_and(|Reverse((then, _))| *then <= now) {
            let task = self.due.pop().and_then(|Reverse((_, key))| self.tasks.remove(&key));
            match task {
                Some(Task::Resume(server, key)) => {
                    if let Err(errno) = self.shared.watch(key, &server) {
                        server.warn(format_args!("cannot wait for clients: {errno}; trying again"));
                        self.later(ACCEPT_PAUSE, Task::Resume(server, key));
                    }
                }
                Some(Task::GiveUp(server, client)) => {
                    if let Some(client) = server.give_up(&client) {
                        self.refuse(client, &server);
                    }
                }
                Some(Task::Refuse { mut refusal, .. }) => {
                    refusal.advance();
                }
                None => {}
            }
        }
    }
}
