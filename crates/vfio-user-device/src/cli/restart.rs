//! How this program is started once more, for another process to take its place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::{INHERITED, SandboxMode};

/// The command line of this process.
#[derive(Clone, Debug)]
pub(super) struct Restart {
    /// The file that it was started from. By the time of a restart another one has that name.
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Restart {
    /// What this process was started by. To be called before its file can be replaced.
    pub fn of_this_process() -> Self {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        let program = std::env::current_exe().unwrap_or_else(|_| name.into());
        Restart { program, arguments: arguments.collect() }
    }

    /// The same command line, by another binary if one is named.
    pub fn command(&self, binary: Option<&Path>) -> Command {
        let mut command = Command::new(binary.unwrap_or(&self.program));
        command.args(&self.arguments);
        if crate::sandbox::status().mode == SandboxMode::On {
            command.env(INHERITED, "on");
        }
        command
    }
}
