//! Servers that run side by side in one program.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::acceptor::Acceptor;
use super::device_server::Server;
use super::error::ServerError;
#[cfg(feature = "cli")]
use super::exchange;
use super::registry::{EXCHANGE, Registry, STOP};
use super::running::{RunningServer, SESSION_END_TIMEOUT};
#[cfg(feature = "cli")]
use crate::exchange::ProgramState;
use crate::exchange::{Exchange, ExchangeError};

/// A server among others. It is never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey(u64);

/// ServerSet that run side by side. A copy has the same servers, so that one thread can
/// [`run`](ServerSet::run) them while another adds and removes some.
#[derive(Clone)]
pub struct ServerSet(Arc<Registry>);

impl ServerSet {
    /// None yet.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn new() -> Result<Self, ServerError> {
        Ok(ServerSet(Arc::new(Registry::new().map_err(ServerError::listen)?)))
    }

    /// Adds a server, which is served from now on if these are run.
    ///
    /// # Errors
    /// Memory or the user's epoll watches have run out.
    pub fn add(&self, server: Server) -> Result<ServerKey, ServerError> {
        let key = self.0.new_key();
        let served = RunningServer::new(server);
        self.0.servers().insert(key, Arc::clone(&served));
        if let Err(errno) = self.0.watch(key, &served) {
            self.0.servers().remove(&key);
            return Err(ServerError::listen(errno));
        }
        Ok(ServerKey(key))
    }

    /// Removes servers, those that are there: their socket files go, and their clients. Waits until
    /// all the sessions have ended, for a second at most; one that is stuck in its device is left
    /// behind.
    pub fn remove(&self, keys: &[ServerKey]) {
        let removed: Vec<_> = {
            let mut servers = self.0.servers();
            keys.iter().filter_map(|key| servers.remove(&key.0)).collect()
        };
        for served in &removed {
            // A socket that was passed can be open elsewhere, too, and would go on being looked at.
            self.0.ignore(served);
            served.close();
        }
        let deadline = Instant::now() + SESSION_END_TIMEOUT;
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
        epoll::add(&self.0.epoll, stop, EventData::new_u64(STOP), EventFlags::IN)
            .map_err(ServerError::listen)?;
        let exchange = EventData::new_u64(EXCHANGE);
        epoll::add(&self.0.epoll, self.0.exchanges.as_fd(), exchange, EventFlags::IN)
            .map_err(ServerError::listen)?;
        let all: Vec<_> = self.0.servers().values().map(Arc::clone).collect();
        all.iter().for_each(RunningServer::start);
        drop(all);
        let result = Acceptor::new(&self.0).run();
        // It cannot fail: they were added.
        let _ = epoll::delete(&self.0.epoll, stop);
        let _ = epoll::delete(&self.0.epoll, self.0.exchanges.as_fd());
        // What it has may have these servers.
        self.0.exchanges.set_how(None);
        if self.0.exchanges.successor().is_some() {
            return result;
        }
        ending();
        let all: Vec<_> = self.0.servers().keys().copied().map(ServerKey).collect();
        self.remove(&all);
        result
    }

    pub(super) fn running(&self) -> Vec<(ServerKey, Arc<RunningServer>)> {
        let servers = self.0.servers();
        servers.iter().map(|(key, server)| (ServerKey(*key), Arc::clone(server))).collect()
    }

    /// How this program is [exchanged](crate::exchange), by another binary than its own if one is
    /// named. Without it, no exchange is possible.
    pub fn on_exchange(&self, how: impl Fn(Option<&Path>) -> Exchange + Send + 'static) {
        self.0.exchanges.set_how(Some(Box::new(how)));
    }

    /// Asks for an exchange, which the thread that [runs](ServerSet::run) these servers carries out.
    /// `told` is told the number of the new process, or why this one goes on; after a success, the
    /// process ends soon.
    pub fn exchange(
        &self,
        binary: Option<PathBuf>,
        told: impl FnOnce(&Result<u32, ExchangeError>) + Send + 'static,
    ) {
        self.0.exchanges.ask(binary, Box::new(told));
    }

    /// A byte that is written to this asks for an exchange, as a signal's handler does.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn exchange_trigger(&self) -> std::io::Result<OwnedFd> {
        self.0.exchanges.trigger()
    }

    /// Whether these servers are no longer this process's: another one has them, or systemd keeps them for
    /// the next one. What is around them is not to be ended.
    pub fn are_handed_over(&self) -> bool {
        self.successor().is_some() || self.0.exchanges.is_stored()
    }

    /// Hands these servers to systemd, which keeps them until the service is started again.
    ///
    /// # Errors
    /// systemd does not keep descriptors for this service, or a server cannot be handed over. Everything
    /// goes on as before.
    #[cfg(feature = "cli")]
    pub(crate) fn put_into_store(&self, program: &ProgramState) -> Result<(), ExchangeError> {
        let all: Vec<_> = self.0.servers().values().map(Arc::clone).collect();
        exchange::put_into_store(&all, program)?;
        self.0.servers().clear();
        self.0.exchanges.set_stored();
        Ok(())
    }

    /// The process that has these servers now, if they were exchanged: what is around them is not
    /// to be ended.
    pub fn successor(&self) -> Option<u32> {
        self.0.exchanges.successor()
    }
}

impl Server {
    /// Serves clients, one at a time, until `stop` becomes readable. For a program with a single
    /// server; [`ServerSet`] are several.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub fn run(self, stop: BorrowedFd<'_>) -> Result<(), ServerError> {
        let servers = ServerSet::new()?;
        servers.add(self)?;
        servers.run(stop)
    }
}

impl fmt::Debug for ServerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSet").finish_non_exhaustive()
    }
}
