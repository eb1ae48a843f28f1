//! What the daemon says about itself: one value, in JSON on the control socket, and shown by
//! `my-rng-server status`.

use serde::{Deserialize, Serialize};

/// All of it, at one moment.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Snapshot {
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub process: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Its guests, in the order of their names.
    pub guests: Vec<GuestStatus>,
    /// Shared sources and groups, each behind its parent.
    pub classes: Vec<ClassStatus>,
}

/// A guest.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestStatus {
    /// What it is called.
    pub name: String,
    /// Where its socket is.
    pub socket: String,
    /// Who can attach.
    pub transport: String,
    /// The kind of device.
    pub device: String,
    /// Where its bytes come from: a source, or the name of a class.
    pub source: String,
    /// Who is connected.
    pub client: Option<ClientStatus>,
    /// Clients so far that were served.
    pub connections: u64,
    /// Clients so far that were refused.
    pub refused: u64,
    /// Random bytes that it was given so far.
    pub bytes: u64,
    /// Requests that were answered so far.
    pub requests: u64,
    /// Requests that wait for bytes now.
    pub waiting: u64,
    /// Bytes in a second, of the last seconds.
    pub bytes_per_second: f64,
    /// Its class in the tree of a shared source, while a client is connected.
    pub class: Option<u16>,
}

/// Who is connected.
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
    /// How much of that has been promised to the guests that are connected.
    pub promised: u64,
}

/// What can be asked on the control socket, a line each.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// `{"command":"status"}`: a [`Snapshot`].
    Status,
}

/// What is answered, a line each.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// `{"status":{...}}`.
    Status(Box<Snapshot>),
    /// `{"error":"..."}`.
    Error(String),
}
