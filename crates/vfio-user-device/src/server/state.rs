//! What can be seen of a server from outside of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Tells at any time whether a server's client is connected. A copy looks at the same server, also
/// after that has ended.
#[derive(Clone, Debug, Default)]
pub struct ServerState(Arc<Seen>);

/// Changed when a client comes or goes, never for a message.
#[derive(Debug, Default)]
struct Seen {
    client: Mutex<Option<ConnectedClient>>,
    admitted: AtomicU64,
    rejected: AtomicU64,
}

/// A server at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientStats {
    /// The client that has the device.
    pub client: Option<ConnectedClient>,
    /// Clients that have got the device so far, the present one too.
    pub admitted: u64,
    /// Clients that were turned away: another one had the device, or the
    /// [`AdmissionPolicy`](crate::server::AdmissionPolicy) rejected them.
    pub rejected: u64,
}

/// A client that has the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectedClient {
    /// Its process. `None` for one of another process namespace, a QEMU in a container for example.
    pub process: Option<i32>,
    /// When it got the device.
    pub since: SystemTime,
}

impl ServerState {
    /// A server that has had these numbers of clients.
    pub(super) fn counted(admitted: u64, rejected: u64) -> Self {
        let state = ServerState::default();
        state.0.admitted.store(admitted, Ordering::Relaxed);
        state.0.rejected.store(rejected, Ordering::Relaxed);
        state
    }

    /// The present moment.
    pub fn stats(&self) -> ClientStats {
        ClientStats {
            client: *self.client(),
            admitted: self.0.admitted.load(Ordering::Relaxed),
            rejected: self.0.rejected.load(Ordering::Relaxed),
        }
    }

    /// Notes that a client has got the device, until the value goes.
    pub fn connected(&self, process: Option<i32>) -> ConnectedGuard<'_> {
        self.0.admitted.fetch_add(1, Ordering::Relaxed);
        self.connected_since(process, SystemTime::now())
    }

    /// Notes that a client has the device since that time, until the value goes.
    pub(super) fn connected_since(
        &self,
        process: Option<i32>,
        since: SystemTime,
    ) -> ConnectedGuard<'_> {
        *self.client() = Some(ConnectedClient { process, since });
        ConnectedGuard(self)
    }

    /// Notes that a client was turned away.
    pub fn count_rejected(&self) {
        self.0.rejected.fetch_add(1, Ordering::Relaxed);
    }

    fn client(&self) -> MutexGuard<'_, Option<ConnectedClient>> {
        self.0.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's time with the device. The client has gone when this goes.
#[must_use = "the client has gone when this goes"]
pub struct ConnectedGuard<'w>(&'w ServerState);

impl Drop for ConnectedGuard<'_> {
    fn drop(&mut self) {
        *self.0.client() = None;
    }
}
