//! The parts that a submission can have, and which of them were handed in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// A kernel module.
    Driver,
    /// A program that uses the driver.
    App,
    /// A device.
    Device,
}

/// All of them.
pub const PARTS: [Part; 3] = [Part::Driver, Part::App, Part::Device];

impl Part {
    /// How the ids of its checks begin.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::App => "app",
            Self::Device => "device",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::App { "application" } else { self.id() })
    }
}

/// What was looked for in a submission, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct HandedIn {
    /// The parts that are there, with their places.
    pub found: Vec<(Part, String)>,
    /// The parts that were looked for and are not there.
    pub missing: Vec<Part>,
    /// What became of archives, patches and names.
    pub notes: Vec<String>,
    /// What was not looked at, and what to do about it.
    pub passed_over: Vec<String>,
}
