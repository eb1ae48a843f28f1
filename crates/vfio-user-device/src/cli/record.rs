//! `--record`: what a program records of its sessions.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Program, ProgramError};
use crate::recording::Recording;
use crate::server::Server;

/// Names the file, for programs that are started by others and take no such option.
const VARIABLE: &str = "VFIO_USER_RECORD";
/// The same for the limit.
const LIMIT_VARIABLE: &str = "VFIO_USER_RECORD_LIMIT";
/// The limit where none is named.
const DEFAULT_LIMIT: u64 = 256 << 20;

/// The options for recordings.
#[derive(Clone, Debug, Default, Args)]
#[group(skip)]
pub struct RecordArguments {
    /// Record what happens between guests and devices to FILE: messages, register accesses, interrupts,
    /// guest memory. `my-rng-server trace FILE` shows it. The file is replaced. (VFIO_USER_RECORD=FILE
    /// in the environment does the same.)
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// End the recording when FILE has so many bytes. The server goes on.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_LIMIT)]
    pub record_limit: u64,
}

impl RecordArguments {
    /// The file, by the option or by the environment.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let variable = || std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        self.record.clone().or_else(|| variable().map(PathBuf::from))
    }

    /// Begins the file.
    pub(super) fn create(&self) -> Result<Option<Recording>, ProgramError> {
        self.open(Recording::create)
    }

    /// Goes on with the file of the process whose place this one takes.
    pub(super) fn append(&self) -> Result<Option<Recording>, ProgramError> {
        self.open(Recording::append)
    }

    fn open(
        &self,
        open: fn(&Path, u64) -> io::Result<Recording>,
    ) -> Result<Option<Recording>, ProgramError> {
        let Some(path) = self.file() else { return Ok(None) };
        let limit = if self.record.is_some() { self.record_limit } else { variable_limit() };
        let opened = open(&path, limit);
        opened.map(Some).map_err(|source| ProgramError::Recording { path, source })
    }
}

/// The limit that the environment names.
fn variable_limit() -> u64 {
    let named = std::env::var(LIMIT_VARIABLE).ok();
    named.and_then(|limit| limit.parse().ok()).unwrap_or(DEFAULT_LIMIT)
}

impl Program {
    /// The server with its sessions recorded, if the options name a file.
    pub(super) fn recorded(&self, server: Server) -> Server {
        match &self.recording {
            Some(recording) => server.with_recording(recording, serde_json::Value::Null),
            None => server,
        }
    }

    /// What sessions are recorded to, if the options name a file. A program that makes its servers itself
    /// gives it to them.
    pub fn recording(&self) -> Option<Recording> {
        self.recording.clone()
    }
}
