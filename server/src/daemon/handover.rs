//! What the daemon keeps beside its servers when another process takes its place: the class ids
//! of its guests, what they were given so far, and the control socket.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use vfio_user_device::exchange::{ExchangeError, Inherited, ProgramState};
use vfio_user_device::server::Listener;

use super::Daemon;
use super::control::Control;
use super::status_file::ClassIds;

/// The daemon as a value.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonState {
    /// By source and guest.
    pub class_ids: ClassIds,
    /// By guest.
    guests: BTreeMap<String, GuestState>,
}

/// What a guest was given so far.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GuestState {
    bytes: u64,
    requests: u64,
}

impl DaemonState {
    /// That of the process whose place this one takes.
    ///
    /// # Errors
    /// It is of another version.
    pub fn of(predecessor: &Inherited) -> Result<Self> {
        if predecessor.is_after_crash() && predecessor.state().is_none() {
            return Ok(DaemonState::default());
        }
        predecessor.state().get().context("what the running daemon keeps beside its servers")
    }
}

/// The control socket of the process whose place this one takes, if it had one.
pub fn control_socket(predecessor: &mut Inherited) -> Option<Listener> {
    predecessor.take_sockets().pop()
}

impl Daemon {
    /// What another process needs to know to take this one's place.
    ///
    /// # Errors
    /// A guest cannot be handed over.
    pub fn save(&self, control: Option<&Control>) -> Result<ProgramState, ExchangeError> {
        if let Some(guest) = self.guests.values().find(|guest| guest.is_vhost_user()) {
            let name = &guest.configuration.name;
            let reason = "vhost-user guests cannot be handed over; restart the daemon instead";
            return Err(ExchangeError::Program(format!("guest {name:?}: {reason}")));
        }
        let guests = self.guests.iter().map(|(name, guest)| {
            let (bytes, requests) = (guest.meter.bytes(), guest.meter.requests());
            (name.clone(), GuestState { bytes, requests })
        });
        let state = DaemonState { class_ids: self.class_ids.all(), guests: guests.collect() };
        ProgramState::new(&state, control.map(Control::socket))
            .map_err(|error| ExchangeError::Program(error.to_string()))
    }

    /// Goes on counting from what the guests were given by another process.
    pub fn count_on(&self, state: &DaemonState) {
        for (name, guest) in &self.guests {
            if let Some(GuestState { bytes, requests }) = state.guests.get(name).copied() {
                guest.meter.count_on(bytes, requests);
            }
        }
    }
}
