//! The servers of one [`ServerSet`](super::ServerSet), and the epoll(7) that watches their sockets.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::exchange;
use super::exchange_requests::ExchangeRequests;
use super::running::RunningServer;

/// What the descriptor that ends [`ServerSet::run`] is registered as.
pub(super) const STOP: u64 = 0;
/// What the one is registered as that asks for an [exchange](crate::exchange).
pub(super) const EXCHANGE: u64 = 1;

/// Running servers by their keys.
pub(super) struct Registry {
    pub epoll: OwnedFd,
    servers: Mutex<HashMap<u64, Arc<RunningServer>>>,
    /// For servers and rejected clients alike.
    last_key: AtomicU64,
    pub exchanges: ExchangeRequests,
}

impl Registry {
    /// No server yet.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn new() -> Result<Self, Errno> {
        Ok(Registry {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            servers: Mutex::default(),
            last_key: AtomicU64::new(EXCHANGE),
            exchanges: ExchangeRequests::new()?,
        })
    }

    /// A key that nothing else has or had.
    pub fn new_key(&self) -> u64 {
        self.last_key.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn servers(&self) -> MutexGuard<'_, HashMap<u64, Arc<RunningServer>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn server(&self, key: u64) -> Option<Arc<RunningServer>> {
        self.servers().get(&key).map(Arc::clone)
    }

    /// Carries out the exchanges that were asked for. Returns whether another process has all
    /// servers.
    pub fn exchange(&self) -> bool {
        self.exchanges.carry_out(|how| {
            let all: Vec<_> = self.servers().values().map(Arc::clone).collect();
            let process = exchange::exchange(&all, how)?;
            self.servers().clear();
            Ok(process)
        })
    }

    /// Looks at a server's socket from now on, unless it was removed.
    pub fn watch(&self, key: u64, served: &RunningServer) -> Result<(), Errno> {
        let data = EventData::new_u64(key);
        let added = served.with_socket(|fd| epoll::add(&self.epoll, fd, data, EventFlags::IN));
        added.unwrap_or(Ok(()))
    }

    /// Does not look at it any more.
    pub fn ignore(&self, served: &RunningServer) {
        // A socket that was closed in between is not looked at either.
        let _ = served.with_socket(|fd| epoll::delete(&self.epoll, fd));
    }
}

impl Drop for Registry {
    /// Sessions keep their device alive, and would keep the socket file.
    fn drop(&mut self) {
        self.servers().values().for_each(|served| served.close());
    }
}
