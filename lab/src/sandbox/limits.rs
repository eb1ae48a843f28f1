//! How far a program may go, and what came of it.

use std::process::ExitStatus;
use std::time::Duration;

use crate::process;

/// Sets the limits, which only count for a process that is already inside, and becomes the
/// program. $1 is KiB of address space, $2 processes, $3 blocks of 512 bytes in a file, $4 seconds.
pub(super) const LIMITED: &str =
    r#"ulimit -c 0 -v "$1" -u "$2" -f "$3" -t "$4"; shift 4; exec "$@""#;

/// How far a program may go.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until it is killed.
    pub time: Duration,
    /// Bytes of memory of its own, all processes together. Files in memory without a name
    /// (`memfd_create`), while no process maps them, are not counted.
    pub memory: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Bytes on disk in the writable folders, together; also the most that a file can have.
    pub disk: u64,
    /// Bytes that are kept of its standard output, and of its standard error.
    pub output: usize,
}

impl Limits {
    /// For a compiler, with time for a machine that does much else.
    pub const BUILD: Self = Self {
        time: Duration::from_secs(300),
        memory: 3 << 30,
        processes: 256,
        disk: 1 << 30,
        output: 1 << 20,
    };

    /// For a small program.
    pub const PROGRAM: Self = Self {
        time: Duration::from_secs(60),
        memory: 1 << 30,
        processes: 64,
        disk: 64 << 20,
        output: 1 << 20,
    };
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, or by a signal.
    Ended(ExitStatus),
    /// It was still running when its time was over.
    OutOfTime,
    /// It used too much memory.
    TooMuchMemory,
    /// It filled the disk.
    TooMuchDisk,
}

impl End {
    /// Whether it ended by itself and was content.
    pub fn success(self) -> bool {
        matches!(self, Self::Ended(status) if status.success())
    }

    /// In words, for a sentence that begins with the program's name.
    pub fn describe(self) -> String {
        match self {
            Self::Ended(status) => format!("ended with {}", process::describe(status)),
            Self::OutOfTime => "did not end in time and was killed".to_owned(),
            Self::TooMuchMemory => "used too much memory and was killed".to_owned(),
            Self::TooMuchDisk => "wrote too much to the disk and was killed".to_owned(),
        }
    }
}

/// What came of a program.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The beginning of its standard output.
    pub output: Vec<u8>,
    /// The beginning of its standard error.
    pub errors: Vec<u8>,
}

impl Outcome {
    /// Its standard output and its standard error as text.
    pub fn text(&self) -> String {
        let output = String::from_utf8_lossy(&self.output);
        format!("{output}{}", String::from_utf8_lossy(&self.errors))
    }
}
