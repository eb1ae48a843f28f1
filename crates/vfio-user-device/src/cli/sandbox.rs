//! A program in a sandbox.

use super::{Program, ProgramError};
use crate::causes::with_causes;
use crate::sandbox::{self, Paths, SandboxMode};

impl Program {
    /// Starts the [sandbox](crate::sandbox) that `--sandbox` asks for, or `default` without it. The
    /// paths are those of the program; the socket's and `--sandbox-folder` come to them. To be called
    /// before anything is served, and before there are other threads.
    ///
    /// # Errors
    /// The system cannot do what `--sandbox` asks for. What it cannot do of the default is in the log.
    pub fn enter_sandbox(
        &self,
        default: SandboxMode,
        paths: Paths,
        devices: usize,
    ) -> Result<(), ProgramError> {
        let arguments = &self.arguments;
        let paths = arguments.socket_path.iter().fold(paths, |paths, path| paths.socket(path));
        // A process that takes this one's place goes on with the recording.
        let recording = arguments.record.file();
        let paths = recording.iter().fold(paths, |paths, path| paths.write(path));
        let folders = arguments.sandbox_folder.iter();
        let paths = folders.fold(paths, |paths, folder| paths.folder(folder));
        let mode = arguments.sandbox.unwrap_or(default);
        match sandbox::start(mode, &paths, devices) {
            // Some containers forbid it.
            Err(error) if arguments.sandbox.is_none() => log::warn!("{}", with_causes(&error)),
            started => started?,
        }
        Ok(())
    }
}
