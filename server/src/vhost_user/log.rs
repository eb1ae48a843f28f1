//! What a guest does wrong, in the log, and which guest it is.

use std::fmt;

/// The log of one connection.
#[derive(Debug)]
pub struct DriverLog {
    name: String,
}

impl DriverLog {
    /// For a connection at the socket of that name.
    pub fn new(name: &str) -> Self {
        DriverLog { name: name.to_owned() }
    }

    /// Writes a warning.
    pub fn note(&self, line: &dyn fmt::Display) {
        log::warn!("{}: {line}", self.name);
    }
}
