//! What the daemon says about itself: one value, in JSON on the control socket, and shown by
//! `my-rng-server status`.

use std::path::PathBuf;

use entropy::health::HealthReport;
use serde::{Deserialize, Serialize};
use vfio_user_device::sandbox::SandboxStatus;

/// All of it, at one moment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Snapshot {
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub process: u32,
    /// What it cannot do.
    #[serde(default)]
    pub sandbox: SandboxStatus,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Its guests, in the order of their names.
    pub guests: Vec<GuestStatus>,
    /// Shared sources and groups, each behind its parent.
    pub classes: Vec<ClassStatus>,
}

impl Snapshot {
    /// What the health tests of sources have found, by the names of guests and shared sources.
    pub fn health(&self) -> impl Iterator<Item = (&str, &HealthReport)> {
        let own = self.guests.iter().map(|guest| (&guest.name, &guest.health));
        let shared = self.classes.iter().map(|class| (&class.name, &class.health));
        own.chain(shared).filter_map(|(name, health)| Some((name.as_str(), health.as_ref()?)))
    }
}

/// A guest.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestStatus {
    /// What it is called.
    pub name: String,
    /// Where its socket is.
    pub socket: String,
    /// Which clients can attach.
    pub transport: String,
    /// The kind of device.
    pub device: String,
    /// Where its bytes come from: a source, or the name of a class.
    pub source: String,
    /// The client that is connected.
    pub client: Option<ClientStatus>,
    /// Clients so far that were served.
    pub connections: u64,
    /// Clients so far that were rejected.
    pub refused: u64,
    /// Random bytes that it was given so far.
    pub bytes: u64,
    /// Requests that were answered so far.
    pub requests: u64,
    /// Requests that wait for bytes now.
    pub waiting: u64,
    /// Bytes in a second, of the last seconds.
    pub bytes_per_second: f64,
    /// What the health tests of its own source have found, if it has any.
    #[serde(default)]
    pub health: Option<HealthReport>,
    /// Its class in the tree of a shared source, while a client is connected.
    pub class: Option<u16>,
}

/// A connected client.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClientStatus {
    /// Its process, if that is known.
    pub process: Option<u32>,
    /// Seconds since it connected.
    pub seconds: u64,
}

/// A shared source, or a group.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClassStatus {
    /// What it is called.
    pub name: String,
    /// The class above it, unless it is a source.
    pub parent: Option<String>,
    /// Its identifier in the tree.
    pub class: u16,
    /// What it may take over time, in bytes in a second.
    pub average: Option<u64>,
    /// What it may take for a short while, in bytes in a second.
    pub peak: Option<u64>,
    /// What it gets however busy the others are, in bytes in a second.
    pub floor: u64,
    /// What the health tests of the source have found, if it has any.
    #[serde(default)]
    pub health: Option<HealthReport>,
    /// How much of that has been promised to the guests that are connected.
    pub promised: u64,
}

/// What can be asked on the control socket, a line each.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// `{"command":"status"}`: a [`Snapshot`].
    Status,
    /// `{"command":"exchange"}`: another process takes the daemon's place.
    Exchange {
        /// The program to start; the daemon's own file without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        binary: Option<PathBuf>,
    },
}

/// What is answered, a line each.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// `{"status":{...}}`.
    Status(Box<Snapshot>),
    /// `{"exchange":{"process":N}}`: that one serves from now on.
    Exchange {
        /// Its number.
        process: u32,
    },
    /// `{"error":"..."}`.
    Error(String),
}
