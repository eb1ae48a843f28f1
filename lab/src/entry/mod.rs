//! How a private root is entered: with its own programs, a compiler for instance, and with `/dev`
//! and `/proc`.
//!
//! This is the one place that chooses between the two ways:
//!
//! * In namespaces, where the root becomes the root folder (chroot). The kernel has to allow it.
//! * By [`proot`], a program of Debian's that follows each system call of what it starts, and
//!   changes the paths in them. It needs no right at all, so it is what plain containers and systems
//!   that restrict namespaces have. It is slower.

pub(crate) mod filter;
mod proot;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::process::{self, Identity};
use crate::{lock, progress};

pub use proot::{Proot, bind, root};

/// Runs in namespaces of its own: $1 is the root, $2 the folder, $3 the command. The root brings
/// mount and chroot itself: a small system may lack the one, an ordinary user's PATH the other.
/// Temporary files are not the root's, which may be another user's.
pub const IN_NAMESPACES: &str = r#"
set -eu
box=$1/usr/bin/busybox
"$box" mount -o rbind /dev "$1/dev"
"$box" mount -t proc proc "$1/proc"
"$box" mount -o bind "$2" "$1/mnt"
"$box" mount -t tmpfs tmp "$1/tmp"
exec "$box" chroot "$1" /usr/bin/env -i PATH=/usr/bin:/usr/sbin HOME=/tmp LC_ALL=C \
    sh -euc "cd /mnt; $3" 2>&1
"#;

/// The way into a root on this system.
#[derive(Debug)]
pub enum Entry {
    /// Namespaces can be made.
    Namespaces,
    /// They cannot.
    Proot(Proot),
}

/// The way on this system. Without the right, the lab must not be locked: proot may have to be
/// fetched.
pub fn get(right: Option<&lock::Preparing>) -> Result<&'static Entry> {
    static ENTRY: OnceLock<Entry> = OnceLock::new();
    if let Some(entry) = ENTRY.get() {
        return Ok(entry);
    }
    let Err(reason) = process::namespaces() else {
        return Ok(ENTRY.get_or_init(|| Entry::Namespaces));
    };
    let proot = Proot::find(right)
        .with_context(|| format!("this system does not allow namespaces ({reason})"))?;
    Ok(ENTRY.get_or_init(|| {
        progress::say(&format!(
            "this system does not allow namespaces ({reason}): builds run under proot instead, \
             which takes longer"
        ));
        Entry::Proot(proot)
    }))
}

impl Entry {
    /// A command that runs a shell command in a root, with a folder as `/mnt`, where it starts. What
    /// it says is all on its standard output; all of it dies with the calling thread.
    #[must_use]
    pub fn shell(&self, root: &Path, folder: &Path, script: &str) -> Command {
        match self {
            Self::Namespaces => {
                let mut command = process::namespaced(Identity::Root, "sh");
                command.args(["-c", IN_NAMESPACES, "sh"]).args([root, folder]).arg(script);
                command
            }
            Self::Proot(proot) => proot.shell(root, folder, script),
        }
    }
}
