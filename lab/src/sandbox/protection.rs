//! What keeps an untrusted program from the rest of the system, where it runs.

use std::fmt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::Result;

use super::sandbox_user;
use crate::entry::{self, Entry, Proot};

/// What the kernel enforces around a program in the sandbox, beside its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Namespaces: it sees its own files and processes, and no network.
    Namespaces,
    /// Landlock: it reaches its own files only. A filter of system calls refuses it the network.
    Landlock,
    /// A user of its own, without the network: it changes nothing of others.
    User,
    /// Nothing but the filter: it may do what this user may do.
    Nothing,
}

impl Protection {
    /// What there is on this system. The lab must not be locked: see [`entry::get`].
    pub fn here() -> Result<Self> {
        Ok(match entry::get(None)? {
            Entry::Namespaces => Self::Namespaces,
            Entry::Proot(proot) => Self::traced(proot),
        })
    }

    /// What there is for a program under proot.
    pub(super) fn traced(proot: &Proot) -> Self {
        static LANDLOCK: OnceLock<bool> = OnceLock::new();
        match *LANDLOCK.get_or_init(|| landlock_works(proot)) {
            true => Self::Landlock,
            false if sandbox_user().is_some() => Self::User,
            false => Self::Nothing,
        }
    }

    /// Whether the files of the user who runs the lab are safe.
    pub fn keeps_files(self) -> bool {
        self != Self::Nothing
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "namespaces: it sees no files, processes or networks but its own",
            Self::Landlock => {
                "Landlock, which keeps it to its own files, and a filter of system calls, which \
                 refuses it the network; it can see other processes"
            }
            Self::User => {
                "a user of its own, and a filter of system calls, which refuses it the network; it \
                 can read what every user may read"
            }
            Self::Nothing => {
                "a filter of system calls alone, which refuses it the network; it can read and \
                 change your files"
            }
        })
    }
}

/// Whether the kernel has Landlock and lets this process use it.
fn landlock_works(proot: &Proot) -> bool {
    let words = proot.program("setpriv");
    let rule = "path-beneath:execute,read-file,read-dir:/";
    Command::new(&words[0])
        .args(&words[1..])
        .args(["--nnp", "--landlock-access", "fs", "--landlock-rule", rule])
        .args(["--", "true"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}
