//! A wall around a stranger's program or build.
//!
//! What a student handed in is code that anybody may have written: a Makefile, a `build.rs`, a
//! device. It runs in namespaces of its own, made by bubblewrap (the guest root has it): no
//! network, no process but its own, a file system of nothing but what was asked for, all of it
//! read-only except for the folders that were made [`writable`](Sandbox::writable). It is nobody
//! there, without capabilities and without the lab's environment.
//!
//! The wall also has a lid, [`Limits`]: how long it may run, how much memory, how many processes
//! and how much disk it may use, and how much of what it says is kept. Processes, the size of a
//! file and the address space are limited by the kernel; the sums, which it does not limit without
//! cgroups, are looked at several times a second ([`watch`]). Whoever is over the limit ends, with
//! all of its family.
//!
//! Root runs the program as a user of its own, because the kernel limits neither the processes nor
//! the file access of root. For an ordinary user a user namespace does the same.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::kernel::Kernel;
use crate::process::{self, Child};
use crate::{lock, world};

mod watch;
mod watched;

pub use watched::Watched;

/// The users that programs run as: those that systemd gives to services without a user of their
/// own, and that nobody owns files by.
const STRANGERS: std::ops::Range<u32> = 61184..65520;
/// Where busybox is inside, to set the limits with.
const BUSYBOX: &str = "/busybox";
/// Sets the limits, which only count for a process that is already inside, and becomes the
/// program. $1 is KiB of address space, $2 processes, $3 blocks of 512 bytes in a file, $4 seconds.
const LIMITED: &str = r#"ulimit -c 0 -v "$1" -u "$2" -f "$3" -t "$4"; shift 4; exec "$@""#;
/// How much the file systems in memory hold: /tmp and /dev/shm.
const MEMORY_FILES: &str = "268435456";

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
    #[must_use]
    pub fn success(self) -> bool {
        matches!(self, Self::Ended(status) if status.success())
    }

    /// In words, for a sentence that begins with the program's name.
    #[must_use]
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
    #[must_use]
    pub fn text(&self) -> String {
        let output = String::from_utf8_lossy(&self.output);
        format!("{output}{}", String::from_utf8_lossy(&self.errors))
    }
}

/// A wall: what is inside, and the limits.
#[derive(Debug, Clone)]
pub struct Sandbox {
    guest_root: PathBuf,
    /// bubblewrap's arguments for the files.
    files: Vec<OsString>,
    environment: Vec<OsString>,
    writable: Vec<PathBuf>,
    folder: PathBuf,
    limits: Limits,
    /// The user it runs as; nothing for an ordinary user, who cannot choose.
    stranger: Option<u32>,
}

impl Sandbox {
    /// With no files at all but `/proc`, `/dev` and an empty `/tmp`.
    pub fn empty(limits: Limits) -> Result<Self> {
        process::check_namespaces()?;
        // Without the lock when there is nothing to prepare: somebody may prepare something else.
        let guest_root = if world::GUEST.ready() {
            world::GUEST.path()
        } else {
            world::GUEST.ensure(&lock::preparing()?)?
        };
        Ok(Self {
            guest_root,
            files: Vec::new(),
            environment: Vec::new(),
            writable: Vec::new(),
            folder: "/".into(),
            limits,
            stranger: stranger(),
        })
    }

    /// With the programs of the guest root, to build for the guest with.
    pub fn with_guest_root(limits: Limits) -> Result<Self> {
        let sandbox = Self::empty(limits)?;
        let root = sandbox.guest_root.clone();
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
    #[must_use]
    pub fn programs_of(mut self, root: &Path) -> Self {
        for name in ["usr", "bin", "sbin", "lib", "lib64"] {
            let path = root.join(name);
            let inside = Path::new("/").join(name);
            if let Ok(target) = fs::read_link(&path) {
                self.add(["--symlink".as_ref(), target.as_os_str(), inside.as_os_str()]);
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

    /// Shows a file or folder of the host, read-only.
    #[must_use]
    pub fn shows(mut self, path: &Path, inside: &Path) -> Self {
        self.bind("--ro-bind", path, inside);
        self
    }

    /// Shows a folder of the host that the program may write to. When root runs it, all that is in
    /// it belongs to the program's user from then on.
    #[must_use]
    pub fn writable(mut self, path: &Path, inside: &Path) -> Self {
        self.bind("--bind", path, inside);
        self.writable.push(path.to_path_buf());
        self
    }

    /// The user that the program is inside; its group has the same number.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.stranger.unwrap_or(STRANGERS.start)
    }

    /// The folder the program starts in, as seen from inside.
    #[must_use]
    pub fn folder(mut self, inside: &Path) -> Self {
        inside.clone_into(&mut self.folder);
        self
    }

    /// Sets a variable of the program's environment, which is empty otherwise.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.extend(["--setenv".into(), name.into(), value.as_ref().to_owned()]);
        self
    }

    fn bind(&mut self, kind: &str, path: &Path, inside: &Path) {
        // bubblewrap itself would make the folders above so that only root may enter.
        let mut above: Vec<&Path> = inside.ancestors().skip(1).collect();
        above.pop();
        for folder in above.into_iter().rev() {
            self.add(["--dir".as_ref(), folder.as_os_str()]);
        }
        self.add([kind.as_ref(), path.as_os_str(), inside.as_os_str()]);
    }

    fn add<const N: usize>(&mut self, arguments: [&OsStr; N]) {
        self.files.extend(arguments.map(OsStr::to_owned));
    }

    /// The command that runs a program behind the wall; add the program's arguments. Everything in
    /// there dies with the process, which dies with the calling thread. Nobody watches the sums of
    /// memory and disk of what is started from it otherwise than with [`Self::start`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        for folder in &self.writable {
            self.hand_over(folder)?;
        }
        let root = &self.guest_root;
        let mut command = process::tied(root.join("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(root.join("usr/lib/x86_64-linux-gnu"));
        command.arg(root.join("usr/bin/bwrap"));
        command.args(["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]);
        command.args(["--unshare-cgroup-try", "--die-with-parent", "--new-session"]);
        command.args(["--clearenv", "--cap-drop", "ALL"]);
        if self.stranger.is_some() {
            // To become the stranger with, which loses them.
            command.args(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]);
        } else {
            let nobody = STRANGERS.start.to_string();
            command.args(["--unshare-user", "--disable-userns"]);
            command.args(["--uid", &nobody, "--gid", &nobody]);
        }
        command.args(["--setenv", "HOME", "/tmp", "--setenv", "LC_ALL", "C"]);
        command.args(&self.environment);
        command.args(["--proc", "/proc", "--dev", "/dev"]);
        for folder in ["/tmp", "/dev/shm"] {
            command.args(["--perms", "1777", "--size", MEMORY_FILES, "--tmpfs", folder]);
        }
        command.args(&self.files);
        command.arg("--ro-bind").arg(root.join("usr/bin/busybox")).arg(BUSYBOX);
        command.args(["--remount-ro", "/dev", "--remount-ro", "/"]);
        command.arg("--chdir").arg(&self.folder).arg("--");
        if let Some(user) = self.stranger {
            let user = user.to_string();
            command.args([BUSYBOX, "nsenter", "-F", "-S", &user, "-G", &user]);
        }
        command.args([BUSYBOX, "sh", "-c", LIMITED, "sh"]).args(self.limit_arguments());
        command.arg(program);
        Ok(command)
    }

    fn limit_arguments(&self) -> [String; 4] {
        // Reserved is not used: programs reserve a multiple of what they touch.
        let address_space = self.limits.memory.saturating_mul(4) / 1024;
        let file = self.limits.disk / 512;
        let processor = self.limits.time.as_secs().saturating_mul(2).max(1);
        [
            address_space.to_string(),
            self.limits.processes.to_string(),
            file.to_string(),
            processor.to_string(),
        ]
    }

    /// Makes the program's user the owner of a folder and all in it.
    fn hand_over(&self, path: &Path) -> Result<()> {
        let Some(user) = self.stranger else { return Ok(()) };
        lchown(path, Some(user), Some(user))
            .with_context(|| format!("cannot change the owner of {}", path.display()))?;
        if path.is_dir() && !path.is_symlink() {
            let entries =
                fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
            for entry in entries.flatten() {
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
        let mut child = Child::spawn("bubblewrap", &mut command)?;
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
        let begun = Instant::now();
        let mut watch = watch::Watch::new(child.pid(), &self.writable);
        loop {
            if let Some(status) = child.ended()? {
                return Ok(End::Ended(status));
            }
            if begun.elapsed() >= self.limits.time {
                return Ok(End::OutOfTime);
            }
            if let Some(end) = watch.over(&self.limits) {
                return Ok(end);
            }
            std::thread::sleep(process::POLL);
        }
    }
}

/// Reads a pipe to its end and keeps the beginning.
fn keep(mut pipe: impl Read + Send + 'static, most: usize) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return kept,
                Ok(count) => {
                    let room = most - kept.len();
                    kept.extend_from_slice(&buffer[..count.min(room)]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return kept,
            }
        }
    })
}

/// A user for a program, when this is a root that can become other users. The root of a user
/// namespace has often nobody else.
fn stranger() -> Option<u32> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if !process::is_root() || !maps(&map, &STRANGERS) {
        return None;
    }
    // Different ones, so that those that run at once do not share a limit. Two labs may take the
    // same; the limit is then for both.
    let number = std::process::id().wrapping_mul(64) + NEXT.fetch_add(1, Ordering::Relaxed);
    Some(STRANGERS.start + number % (STRANGERS.end - STRANGERS.start))
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
