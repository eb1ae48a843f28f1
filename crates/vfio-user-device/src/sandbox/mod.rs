//! What a program does not need, taken from it: system calls, files, privileges, memory.
//!
//! [`start`] is called once, while the program has one thread and has opened nothing for others yet.
//! From then on the process has no way back:
//!
//! | what | by | limit |
//! | --- | --- | --- |
//! | system calls | seccomp(2) | those of the program's [`ThreadKind`]; a thread that [enters](ThreadKind::enter) another kind keeps only what both have |
//! | files | landlock(7) | the [`Paths`] |
//! | privileges | `no_new_privs` | none by starting another program |
//! | signals | landlock(7) | to this process and those that it starts |
//! | memory of its own | `RLIMIT_DATA` | so much for the program, and so much for each device |
//!
//! A system call outside the list ends the process. Files outside the paths are "Permission denied".
//! A kernel without Landlock gives the rest, and the log says so once.

mod paths;
mod system_calls;
mod thread_kind;

use std::fmt;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::causes::is_caused_by;

#[doc(hidden)]
pub use libc;
pub use paths::Paths;
pub use system_calls::calls;
pub use system_calls::{
    BASIC, Call, CallGroup, FILES, NON_BLOCKING, PROGRAM, REFUSED, SESSION_CALLS, THREADS,
};
pub use thread_kind::{MAIN, SESSION, ThreadKind};

/// Memory that a program may have for itself, whatever it serves.
const PROGRAM_MEMORY: u64 = 256 << 20;
/// Memory for each device: the stacks of its threads, and messages of two directions, several times.
const DEVICE_MEMORY: u64 = 16 << 20;

/// Set in the environment of a process that a sandboxed one starts: it is in that sandbox.
pub(crate) const INHERITED: &str = "VFIO_USER_SANDBOX";

/// How strict the sandbox is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum SandboxMode {
    /// There is none.
    #[default]
    Off,
    /// System calls outside the list are carried out, and the kernel's log names them. Files are not
    /// looked at.
    Log,
    /// System calls outside the list end the process, and files outside the paths cannot be opened.
    On,
}

/// What the sandbox of this process is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SandboxStatus {
    /// What was asked for.
    pub mode: SandboxMode,
    /// Whether the kernel filters system calls.
    pub system_calls: bool,
    /// Whether the kernel keeps it from files.
    pub files: bool,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the sandbox ({what}); --sandbox off goes without")]
pub struct SandboxError {
    what: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl SandboxError {
    fn new(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        SandboxError { what, source: source.into() }
    }
}

/// Of this process: seccomp(2) and landlock(7) know nothing smaller that has no way around.
static STATUS: OnceLock<SandboxStatus> = OnceLock::new();

/// Starts the sandbox of this process, for so many devices. The calling thread, and all that it
/// starts, are of the kind [`MAIN`]. Files are not denied to threads that were there before.
///
/// # Errors
/// The kernel has no seccomp(2), or not for this processor; files are denied all the same. Or a path
/// cannot be opened.
pub fn start(mode: SandboxMode, paths: &Paths, devices: usize) -> Result<(), SandboxError> {
    if mode == SandboxMode::Off || STATUS.get().is_some() {
        return Ok(());
    }
    // What rustix asks the kernel for once: not every thread will be allowed to.
    rustix::param::page_size();
    let inherited = std::env::var_os(INHERITED).is_some();
    // In the sandbox of the process that has started this one, another layer would only take from
    // the sixteen that Landlock has.
    let files = match mode {
        SandboxMode::On if !inherited => paths.enforce()?,
        _ => mode == SandboxMode::On,
    };
    let installed = if inherited { Ok(()) } else { MAIN.install_everywhere(mode) };
    let _ = STATUS.set(SandboxStatus { mode, system_calls: installed.is_ok(), files });
    bound_memory(devices);
    log::info!("{}", status());
    installed.map_err(|error| SandboxError::new("seccomp", error))
}

/// What it is.
pub fn status() -> SandboxStatus {
    STATUS.get().cloned().unwrap_or_default()
}

/// Lets the process have memory for so many devices, if it is bounded.
pub fn bound_memory(devices: usize) {
    if status().mode == SandboxMode::Off {
        return;
    }
    let devices = u64::try_from(devices).unwrap_or(u64::MAX);
    let bound = PROGRAM_MEMORY.saturating_add(DEVICE_MEMORY.saturating_mul(devices));
    let Rlimit { maximum, .. } = getrlimit(Resource::Data);
    let current = maximum.map_or(bound, |maximum| maximum.min(bound));
    if let Err(errno) = setrlimit(Resource::Data, Rlimit { current: Some(current), maximum }) {
        log::warn!("cannot bound the memory to {current} bytes: {errno}");
    }
}

/// What to do about an error, if it can be the sandbox's.
pub fn remedy(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    (status().files && is_caused_by(error, Errno::ACCESS)).then_some(
        "the sandbox knows the paths that were there at the start: if this is a new one, start the \
         server again, with --sandbox-folder for a folder in which more will come",
    )
}

impl fmt::Display for SandboxStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sandbox {}", self.mode)?;
        if self.mode != SandboxMode::Off && !self.system_calls {
            f.write_str(", without seccomp")?;
        }
        if self.mode == SandboxMode::On && !self.files {
            f.write_str(", without Landlock")?;
        }
        Ok(())
    }
}

impl fmt::Display for SandboxMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SandboxMode::Off => "off",
            SandboxMode::Log => "log",
            SandboxMode::On => "on",
        })
    }
}
