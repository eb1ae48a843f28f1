//! A server whose session rests, on its way to another process.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{PendingClient, RunningServer};
use crate::server::document::{ClientDocument, ServerDocument};
use crate::server::peer;
use crate::session::ClientLink;
use crate::state::{Descriptors, StateError};

/// How often a session is interrupted until it rests: the signal is lost on one that is about to
/// wait.
const INTERRUPTION: Duration = Duration::from_millis(1);

impl RunningServer {
    /// What it is called in the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Goes on with the client that another process has served so far, if there is one.
    pub fn start(self: &Arc<Self>) {
        let mut clients = self.clients();
        if let Some(client) = clients.inherited.take() {
            self.start_session(&mut clients, PendingClient::inherited(client));
        }
    }

    /// Waits for the end of the session. One that does not end (a device that hangs in a callback)
    /// is left behind.
    pub fn wait_until_vacant(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.clients(), left, |s| s.current.is_some());
        let (clients, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(stuck) = &clients.current {
            let peer = peer::name(stuck.process);
            log::error!("{}: the session of {peer} does not end", self.name);
        }
    }

    /// Asks the session to rest, if there is one.
    pub fn ask_to_rest(&self) {
        self.rest.set(true);
        self.rest.interrupt();
    }

    /// Waits until the session rests. Returns false when it does not.
    pub fn wait_until_at_rest(&self, deadline: Instant) -> bool {
        let mut clients = self.clients();
        while clients.current.is_some() && clients.suspended.is_none() {
            if Instant::now() >= deadline {
                return false;
            }
            self.rest.interrupt();
            let waited = self.changed.wait_timeout(clients, INTERRUPTION);
            clients = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lets the session go on.
    pub fn go_on(&self) {
        let clients = self.clients();
        self.rest.set(false);
        drop(clients);
        self.changed.notify_all();
    }

    /// For the session's thread: keeps the session at rest until it may go on.
    pub(super) fn rest_until_asked_to_go_on(
        &self,
        session: Box<ClientLink>,
    ) -> Option<Box<ClientLink>> {
        let mut clients = self.clients();
        clients.suspended = Some(session);
        self.changed.notify_all();
        while self.rest.is_set() {
            clients = self.changed.wait(clients).unwrap_or_else(PoisonError::into_inner);
        }
        clients.suspended.take()
    }

    /// The server and its client, whose session rests.
    ///
    /// # Errors
    /// The device cannot be exchanged, or descriptors have run out.
    pub fn document(&self, fds: &mut Descriptors) -> Result<ServerDocument, StateError> {
        let mut clients = self.clients();
        let clients = &mut *clients;
        let stats = self.state.stats();
        let client = match (&clients.current, &mut clients.suspended) {
            (Some(current), Some(session)) => Some(ClientDocument {
                process: current.process,
                since: stats.client.map(|client| client.since),
                session: session.save(fds)?,
            }),
            _ => None,
        };
        let function = match self.function().save(fds) {
            Ok(function) => Some(function),
            Err(StateError::NotExchangeable) if client.is_none() => None,
            Err(error) => return Err(error),
        };
        let gone = || StateError::Content("the server was removed".into());
        let listener = clients.listener.as_ref().ok_or_else(gone)?.save(fds)?;
        let (admitted, rejected) = (stats.admitted, stats.rejected);
        Ok(ServerDocument { listener, admitted, rejected, client, function })
    }

    /// Another process has all of it: nothing of it ends here.
    pub fn hand_over(&self) {
        if let Some(listener) = &self.clients().listener {
            listener.leave_file();
        }
    }
}
