//! A server with its client, as a value: what an exchange hands over.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::listener::ListenerState;
use crate::pci::function::FunctionState;
use crate::session::SessionState;

/// The document of one server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerDocument {
    pub listener: ListenerState,
    pub admitted: u64,
    pub rejected: u64,
    pub client: Option<ClientDocument>,
    /// `None` for a device that cannot be exchanged and has no client: a new one is as good.
    pub function: Option<FunctionState>,
}

/// A client that stays connected.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientDocument {
    pub process: Option<i32>,
    /// When it got the device; `None` for one that waits for that.
    pub since: Option<SystemTime>,
    pub session: SessionState,
}

impl ServerDocument {
    /// The server's name.
    pub fn name(&self) -> &str {
        &self.listener.name
    }

    /// Whether a client would be lost with it.
    pub fn has_client(&self) -> bool {
        self.client.is_some()
    }
}
