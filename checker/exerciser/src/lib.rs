//! What the checker asks of its exerciser, and what that answers.
//!
//! The checker, on the host, starts the exerciser in the guest with a [`Request`] as its only
//! argument and reads an [`Answer`] from its standard output, both in JSON. What is asked for is
//! done by processes of its own: a driver may kill them, or keep them for ever.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

/// Something to do in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What.
    pub job: Job,
    /// How many processes do it at once.
    pub processes: u32,
    /// After so many seconds they are killed.
    pub seconds: u64,
}

/// What a process does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// Opens a device node and makes calls, one after the other.
    Calls {
        /// The path of the node.
        node: String,
        /// The calls.
        calls: Vec<Call>,
    },
    /// Accesses BAR 0 of a PCI device, one after the other.
    Registers {
        /// The device's PCI vendor id.
        vendor: u16,
        /// The device's PCI device id.
        device: u16,
        /// Size of the BAR in bytes.
        size: usize,
        /// The accesses.
        accesses: Vec<RegisterAccess>,
    },
    /// Loads and unloads a module again and again.
    Loads {
        /// The module's file.
        file: String,
        /// Its name.
        name: String,
        /// How often.
        times: u32,
    },
    /// Runs a program.
    Program {
        /// Its path and arguments.
        command: Vec<String>,
        /// What it reads.
        input: String,
        /// Whether it is untrusted: then it runs as the user `nobody`, with little of everything.
        confined: bool,
    },
}

/// An ioctl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its number, as `_IOR` and its like make it.
    pub number: u32,
    /// What it is given.
    pub argument: Argument,
    /// How many times it is made.
    pub times: u32,
}

/// The argument of an ioctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Argument {
    /// The address of [`BUFFER`] bytes that are all [`POISON`].
    Empty,
    /// The address of a value of so many bytes, with [`POISON`] behind it.
    Holding {
        /// The value.
        value: u64,
        /// Its size in bytes.
        size: usize,
    },
    /// The address of a value of so many bytes, with nothing mapped behind it: a driver that copies
    /// more gets an error.
    AtPageEnd {
        /// The value.
        value: u64,
        /// Its size in bytes, 8 at most.
        size: usize,
    },
    /// The address of memory that is good and was never touched, so that the kernel has to wait
    /// for it. It holds zeros.
    Untouched,
    /// Address 0.
    Null,
    /// An address of the kernel's own memory.
    Kernel,
    /// An address with nothing behind it.
    Unmapped,
    /// The address of memory that cannot be written; it holds zeros.
    ReadOnly,
}

/// How many bytes an ioctl's argument has room for.
pub const BUFFER: usize = 16;
/// What is in memory that the driver is to fill.
pub const POISON: u8 = 0xa5;

/// An access to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterAccess {
    /// Reads.
    Read {
        /// Offset in the BAR.
        offset: usize,
        /// Bytes: 1, 2, 4 or 8.
        width: usize,
    },
    /// Writes.
    Write {
        /// Offset in the BAR.
        offset: usize,
        /// Bytes: 1, 2, 4 or 8.
        width: usize,
        /// What.
        value: u64,
    },
    /// Reads 4 bytes at each multiple of 4.
    ReadRange {
        /// First offset in the BAR.
        from: usize,
        /// The first offset behind.
        to: usize,
    },
    /// Writes the same 4 bytes at each multiple of 4.
    WriteRange {
        /// First offset in the BAR.
        from: usize,
        /// The first offset behind.
        to: usize,
        /// What.
        value: u32,
    },
}

/// What came of a request: one outcome for each process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer(pub Vec<Outcome>);

/// What came of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The results of its calls or accesses, as far as it came.
    pub steps: Vec<Step>,
    /// What a program printed, no more than [`MAX_OUTPUT`].
    pub said: String,
}

/// How many bytes of a program's output are kept.
pub const MAX_OUTPUT: usize = 64 * 1024;
/// How many bytes a program may print; one that prints more is ended.
pub const MAX_PRINTED: usize = 32 << 20;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By itself, with this exit status.
    Exited(i32),
    /// By a signal.
    Killed(i32),
    /// It did not end in time, and was killed.
    TimedOut,
    /// It did not end when it was killed: the kernel does not let go of it.
    Stuck {
        /// Its state, as /proc says: `R` for running, `D` for waiting.
        state: char,
        /// Where in the kernel it waits, one function per line.
        stack: String,
    },
    /// It printed more than [`MAX_PRINTED`], and was killed.
    TooMuchOutput,
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Self::Killed(signal),
            None => Self::Exited(status.code().unwrap_or(-1)),
        }
    }
}

/// The result of a call or an access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// The node or device could not be opened.
    NotOpened {
        /// Why.
        reason: String,
        /// The error's number, when it is one.
        errno: Option<i32>,
    },
    /// The node was opened.
    Opened,
    /// An ioctl came back.
    Called {
        /// What it returned; below 0, an error's number.
        result: i32,
        /// What is in its argument's memory now, when that can be read.
        memory: Option<[u8; BUFFER]>,
    },
    /// A module was loaded and unloaded as often as asked for, or why not.
    Loads(Option<String>),
    /// A register was read.
    Read(u64),
    /// A range was read: the first offset that is not 0, with its value.
    RangeRead(Option<(usize, u32)>),
    /// A register or a range was written.
    Written,
}
