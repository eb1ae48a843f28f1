//! A sandbox for an untrusted program or build.
//!
//! What a student handed in is untrusted code: a Makefile, a `build.rs`, a
//! device. It sees a file system of nothing but what was asked for, all of it read-only except for
//! the folders that were made [`writable`](Sandbox::writable), has no network, no privileges and
//! nothing of the lab's environment. There are two ways to that:
//!
//! * Namespaces (`namespaces.rs`), made by bubblewrap, which the build root has: the program sees no
//!   process but its own and has no rights there.
//! * Where a system gives no namespaces (`traced.rs`), proot shows the files, and [`Protection`] says
//!   what the kernel enforces then.
//!
//! The sandbox also has [`Limits`]: how long the program may run, how much memory, how many processes
//! and how much disk it may use, and how much of what it says is kept. Processes, the size of a file
//! and the address space are limited by the kernel; the sums, which it does not limit without
//! cgroups, are looked at several times a second ([`watch`]). A program over the limit ends, with all
//! of its family.
//!
//! Root runs the program as a user of its own, because the kernel limits neither the processes nor
//! the file access of root. For an ordinary user a user namespace does the same.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::entry::{self, Entry};
use crate::kernel::Kernel;
use crate::process::{self, Child};
use crate::{files, packages};

mod limits;
mod namespaces;
mod protection;
mod traced;
mod watch;
mod watched;

pub use limits::{End, Limits, Outcome};
pub use protection::Protection;
use traced::Stage;
pub use watched::Watched;

/// The users that programs run as: those that systemd gives to services without a user of their
/// own, and that own no files.
const SANDBOX_USERS: std::ops::Range<u32> = 61184..65520;
/// Where busybox is inside, to set the limits with.
const BUSYBOX: &str = "/busybox";

/// Something that a program in the sandbox sees at a path.
#[derive(Debug, Clone)]
enum Place {
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: PathBuf,
        /// Where it is.
        inside: PathBuf,
    },
    /// A file or folder of the host.
    Bound {
        /// Where the host has it.
        path: PathBuf,
        /// Where the program sees it.
        inside: PathBuf,
        /// Whether the program may write to it.
        writable: bool,
    },
}

/// A sandbox: what is inside, and the limits.
#[derive(Debug, Clone)]
#[must_use]
pub struct Sandbox {
    /// The root with bubblewrap, and with what builds for the guest.
    build_root: PathBuf,
    /// What it sees of files, in the order in which it was asked for.
    places: Vec<Place>,
    environment: Vec<(OsString, OsString)>,
    folder: PathBuf,
    limits: Limits,
    /// Whether the address space is limited, too.
    address_space: bool,
    /// The user it runs as; nothing for an ordinary user, who cannot choose.
    user: Option<u32>,
    /// Where there are no namespaces.
    stage: Option<Arc<Stage>>,
}

impl Sandbox {
    /// With no files at all but `/proc`, `/dev` and an empty `/tmp`.
    pub fn empty(limits: Limits) -> Result<Self> {
        let stage = match entry::get(None)? {
            Entry::Namespaces => None,
            Entry::Proot(proot) => Some(Arc::new(Stage::new(proot)?)),
        };
        Ok(Self {
            build_root: packages::build(Arch::guest()).get()?,
            places: Vec::new(),
            environment: Vec::new(),
            folder: "/".into(),
            limits,
            address_space: true,
            user: sandbox_user(),
            stage,
        })
    }

    /// With the programs of the build root, to build for the guest with.
    pub fn with_build_root(limits: Limits) -> Result<Self> {
        let sandbox = Self::empty(limits)?;
        let root = sandbox.build_root.clone();
        Ok(sandbox.programs_of(&root))
    }

    /// With the programs of a kernel's root, to build modules for that kernel with.
    pub fn with_kernel(kernel: &Kernel, limits: Limits) -> Result<Self> {
        Ok(Self::empty(limits)?.programs_of(&kernel.root))
    }

    /// With the programs of this system, for programs that were linked against its libraries.
    pub fn with_host_programs(limits: Limits) -> Result<Self> {
        Ok(Self::empty(limits)?.programs_of(Path::new("/")))
    }

    /// Shows a root's programs and libraries, and of its settings only what those need.
    pub fn programs_of(mut self, root: &Path) -> Self {
        for name in ["usr", "bin", "sbin", "lib", "lib64"] {
            let path = root.join(name);
            let inside = Path::new("/").join(name);
            if let Ok(target) = fs::read_link(&path) {
                self.places.push(Place::Link { target, inside });
            } else if path.is_dir() {
                self = self.shows(&path, &inside);
            }
        }
        for name in ["etc/alternatives", "etc/ld.so.cache"] {
            let path = root.join(name);
            if path.exists() {
                self = self.shows(&path, &Path::new("/").join(name));
            }
        }
        self.environment("PATH", "/usr/bin:/usr/sbin:/bin")
    }

    /// Lets programs reserve as much address space as they like, as those with the address sanitizer
    /// do. What they use of it is limited all the same.
    pub fn reserves_memory(mut self) -> Self {
        self.address_space = false;
        self
    }

    /// Shows a file or folder of the host, read-only.
    pub fn shows(self, path: &Path, inside: &Path) -> Self {
        self.bind(path, inside, false)
    }

    /// Shows a folder of the host that the program may write to. When root runs it, all that is in
    /// it belongs to the program's user from then on.
    pub fn writable(self, path: &Path, inside: &Path) -> Self {
        self.bind(path, inside, true)
    }

    fn bind(mut self, path: &Path, inside: &Path, writable: bool) -> Self {
        let (path, inside) = (path.to_owned(), inside.to_owned());
        self.places.push(Place::Bound { path, inside, writable });
        self
    }

    /// The host's paths that the program may write to.
    fn writable_folders(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().filter_map(|place| match place {
            Place::Bound { path, writable: true, .. } => Some(path.as_path()),
            _ => None,
        })
    }

    /// The user that the program is inside; its group has the same number.
    pub fn user(&self) -> u32 {
        self.user.unwrap_or(SANDBOX_USERS.start)
    }

    /// The folder the program starts in, as seen from inside.
    pub fn folder(mut self, inside: &Path) -> Self {
        inside.clone_into(&mut self.folder);
        self
    }

    /// Sets a variable of the program's environment, which is empty otherwise.
    pub fn environment(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// The command that runs a program in the sandbox; add the program's arguments. Everything in
    /// there dies with the process, which dies with the calling thread. Nothing watches the sums of
    /// memory and disk of what is started from it otherwise than with [`Self::start`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        for folder in self.writable_folders() {
            self.hand_over(folder)?;
        }
        let mut command = match &self.stage {
            None => self.in_namespaces(),
            Some(stage) => self.traced(stage)?,
        };
        command.args([BUSYBOX, "sh", "-c", limits::LIMITED, "sh"]).args(self.limit_arguments());
        command.arg(program);
        Ok(command)
    }

    /// The folders whose size is limited.
    fn watched_folders(&self) -> Vec<PathBuf> {
        let own = self.stage.iter().map(|stage| stage.path());
        self.writable_folders().chain(own).map(Path::to_path_buf).collect()
    }

    fn limit_arguments(&self) -> [String; 4] {
        // Reserved is not used: programs reserve a multiple of what they touch.
        let address_space = (self.limits.memory.saturating_mul(4) / 1024).to_string();
        let file = self.limits.disk / 512;
        let processor = self.limits.time.as_secs().saturating_mul(2).max(1);
        [
            if self.address_space { address_space } else { "unlimited".to_owned() },
            self.process_limit().to_string(),
            file.to_string(),
            processor.to_string(),
        ]
    }

    /// Without namespaces the kernel counts all processes of an ordinary user together.
    fn process_limit(&self) -> u32 {
        let shared = self.stage.is_some() && self.user.is_none();
        self.limits.processes + if shared { watch::user_threads() } else { 0 }
    }

    /// Makes the program's user the owner of a folder and all in it.
    fn hand_over(&self, path: &Path) -> Result<()> {
        let Some(user) = self.user else { return Ok(()) };
        lchown(path, Some(user), Some(user))
            .with_context(|| format!("cannot change the owner of {}", path.display()))?;
        if path.is_dir() && !path.is_symlink() {
            for entry in files::entries(path)? {
                self.hand_over(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Runs a program to its end, or to its limits.
    pub fn run<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Result<Outcome> {
        let mut command = self.command(program)?;
        command.args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Child::spawn("the sandbox", &mut command)?;
        let output = child.take_stdout().context("its standard output is a pipe")?;
        let errors = child.take_stderr().context("its standard error is a pipe")?;
        let output = keep(output, self.limits.output);
        let errors = keep(errors, self.limits.output);
        let end = self.wait(&mut child);
        // Whatever it was: all its processes end now, and with them the pipes.
        drop(child);
        let [output, errors] = [output, errors].map(|kept| kept.join().unwrap_or_default());
        Ok(Outcome { end: end?, output, errors })
    }

    fn wait(&self, child: &mut Child) -> Result<End> {
        let mut watch = watch::Watch::new(child.pid(), self.watched_folders());
        let end = process::wait_for(self.limits.time, || {
            let ended = child.ended()?.map(End::Ended);
            Ok(ended.or_else(|| watch.over(&self.limits)))
        })?;
        Ok(end.unwrap_or(End::OutOfTime))
    }
}

/// Reads a pipe to its end and keeps the beginning.
fn keep(mut pipe: impl Read + Send + 'static, most: usize) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        // What cannot be read any more counts as the end.
        let _ = pipe.by_ref().take(most as u64).read_to_end(&mut kept);
        let _ = io::copy(&mut pipe, &mut io::sink());
        kept
    })
}

/// A user for a program, when this is a root that can become other users. The root of a user
/// namespace has often no other user.
fn sandbox_user() -> Option<u32> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let may = [CAP_CHOWN, CAP_SETGID, CAP_SETUID].into_iter().all(has_capability);
    if !process::is_root() || !may || !maps(&map, &SANDBOX_USERS) {
        return None;
    }
    // Different ones, so that those that run at once do not share a limit. Two labs may take the
    // same; the limit is then for both.
    let number = std::process::id().wrapping_mul(64) + NEXT.fetch_add(1, Ordering::Relaxed);
    Some(SANDBOX_USERS.start + number % (SANDBOX_USERS.end - SANDBOX_USERS.start))
}

/// Capabilities (capabilities(7)) by their numbers in the kernel's sets.
const CAP_CHOWN: u32 = 0;
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;

/// Whether this process has a capability: the root of a container lacks some.
fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = process::status::word(&status, "CapEff:");
    let set = set.and_then(|set| u64::from_str_radix(set, 16).ok());
    set.is_some_and(|set| set >> number & 1 == 1)
}

/// Whether a user namespace's map has all of the users in one of its lines.
fn maps(map: &str, users: &std::ops::Range<u32>) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> =
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [first, _, count]
            if first <= users.start.into() && first + count >= users.end.into())
    })
}

#[cfg(test)]
mod tests;
