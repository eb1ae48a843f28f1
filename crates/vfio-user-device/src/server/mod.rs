//! The operator's API: sockets, admission, one client after the other.
//!
//! A [`Server`] is one socket and the device behind it; a [`ServerSet`] runs several side by side in
//! one program, each with its own clients. A device outlives its clients.

mod accept_limiter;
mod acceptor;
mod admission;
mod device_server;
mod device_states;
mod document;
mod error;
mod exchange;
mod exchange_requests;
mod listener;
mod peer;
mod registry;
mod running;
mod server_set;
mod socket_file;
mod state;

pub use crate::descriptors::descriptors_remedy;
pub use admission::{AdmissionError, AdmissionGuard, AdmissionPolicy};
pub use device_server::{Options, Server};
pub(crate) use document::{ClientDocument, ServerDocument};
pub use error::ServerError;
pub use listener::Listener;
pub(crate) use listener::ListenerState;
#[cfg(feature = "cli")]
pub(crate) use listener::unsuitable_as_listener;
pub use server_set::{ServerKey, ServerSet};
pub use socket_file::SocketPermissions;
pub use state::{ClientStats, ConnectedClient, ConnectedGuard, ServerState};

#[cfg(test)]
mod tests;
