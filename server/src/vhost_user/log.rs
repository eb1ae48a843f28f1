//! What a guest does wrong, in the log: which guest it is, and not more than a few lines of it.

use std::fmt;

use crate::virtio::LogLimit;

/// The log of one connection.
#[derive(Debug)]
pub struct DriverLog {
    name: String,
    limit: LogLimit,
}

impl DriverLog {
    /// For a connection at the socket of that name.
    pub fn new(name: &str) -> Self {
        DriverLog { name: name.to_owned(), limit: LogLimit::default() }
    }

    /// Writes a warning, if there is room for it.
    pub fn note(&mut self, line: &dyn fmt::Display) {
        if let Some(end) = self.limit.allow() {
            log::warn!("{}: {line}{end}", self.name);
        }
    }
}
