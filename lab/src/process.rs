//! Child processes that never outlive the lab.
//!
//! Three lines of defence: a [`Child`] is killed when its value goes; `setpriv --pdeathsig KILL`
//! has the kernel kill it when the thread that started it ends for whatever reason, SIGKILL
//! included; and a program that has children of its own runs in a process namespace
//! ([`namespaced`]), which the kernel empties when its first process dies. Where there are no
//! namespaces, the children of what is [contained] may go on for a moment, and those of proot are
//! killed one by one ([`traced`]).
//!
//! So start a process from the thread that will keep it. A server that was exchanged is not a child of
//! the lab any more; it has a guard (`server::guard`).

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

pub mod status;
mod traced;

pub use traced::PROOT_LOADER;

/// How often a wait looks whether its process is done.
pub const POLL: Duration = Duration::from_millis(10);

/// A command whose process dies with the calling thread.
#[must_use]
pub fn tied(program: impl AsRef<OsStr>) -> Command {
    tied_by("KILL", program)
}

/// A command whose process gets a signal when the calling thread ends.
#[must_use]
pub fn tied_by(signal: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal, "--"]).arg(program);
    command
}

/// A command for a program with children of its own, which die with it where namespaces can be made.
#[must_use]
pub fn contained(program: impl AsRef<OsStr>) -> Command {
    match namespaces() {
        Ok(()) => namespaced(Identity::Same, program),
        Err(_) => tied(program),
    }
}

/// Who a process in a namespace believes to be. For root it makes no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The user who runs the lab.
    Same,
    /// Root, for programs that mount and chroot.
    Root,
}

/// A command in mount and process namespaces of its own, with a `/proc` that fits, whose whole
/// family dies with the calling thread.
#[must_use]
pub fn namespaced(identity: Identity, program: impl AsRef<OsStr>) -> Command {
    let mut command = tied("unshare");
    if !is_root() {
        command.arg(match identity {
            Identity::Same => "--map-current-user",
            Identity::Root => "--map-root-user",
        });
    }
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]).arg(program);
    command
}

/// Whether [`namespaced`] works here; why not, in a few words.
pub fn namespaces() -> Result<(), &'static str> {
    static PROBED: OnceLock<Result<(), String>> = OnceLock::new();
    PROBED.get_or_init(probe_namespaces).as_ref().copied().map_err(String::as_str)
}

fn probe_namespaces() -> Result<(), String> {
    let output = namespaced(Identity::Root, "true").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run setpriv of util-linux: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("unshare says nothing").trim().to_owned())
}

/// Whether this is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program of that name can be found.
pub fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A running process, killed when the value goes.
#[derive(Debug)]
pub struct Child {
    name: String,
    /// It traces its children, which do not die with it.
    traces: bool,
    inner: std::process::Child,
}

impl Child {
    /// Starts a command made with [`tied`] or its relatives.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let inner = command.spawn().with_context(|| {
            format!("cannot start {name} with setpriv (package util-linux): {command:?}")
        })?;
        Ok(Self { name: name.to_owned(), traces: traced::is_proot(command), inner })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.inner.id()
    }

    /// The same, to send signals to.
    pub fn process(&self) -> Pid {
        Pid::from_child(&self.inner)
    }

    /// The process's standard output, when it was made a pipe and was not taken yet.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.inner.stdout.take()
    }

    /// The same of its standard error.
    pub fn take_stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.inner.stderr.take()
    }

    /// How it ended, or nothing while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.inner.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits for its end.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let status = wait_for(timeout, || self.ended())?;
        status.with_context(|| format!("{} still runs after {} s", self.name, timeout.as_secs()))
    }

    /// Asks it to end, as `kill` does.
    pub fn terminate(&self) -> Result<()> {
        let signal = Signal::TERM;
        kill_process(self.process(), signal)
            .with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.kill_traced();
        self.inner.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.inner.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    fn kill_traced(&mut self) {
        // What has ended has no children left, and its number may be another's.
        if self.traces && matches!(self.inner.try_wait(), Ok(None)) {
            traced::kill_children(self.pid());
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_traced();
        // Already gone is as good as killed.
        let _ = self.inner.kill();
        let _ = self.inner.wait();
    }
}

/// Tries again and again until there is a result; nothing when the time is over.
pub fn wait_for<T>(
    timeout: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let begun = Instant::now();
    loop {
        let result = attempt()?;
        if result.is_some() || begun.elapsed() > timeout {
            return Ok(result);
        }
        std::thread::sleep(POLL);
    }
}

/// Runs a command to its end and returns its standard output; `name` is what the error says.
pub fn output(name: &str, command: &mut Command) -> Result<Vec<u8>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().with_context(|| format!("cannot run {name}: {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} ended with {}:\n{}", describe(output.status), said.trim_end());
    }
    Ok(output.stdout)
}

/// An exit status in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;

    use super::*;

    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let pid = std::thread::spawn(|| {
            let mut command = tied("sleep");
            // Its thread ends without waiting for it or dropping it.
            let child = ManuallyDrop::new(Child::spawn("sleep", command.arg("1000")));
            let pid = child.as_ref().expect("setpriv and sleep exist").pid();
            // Until setpriv has become sleep, its parent-death signal is not set.
            let path = format!("/proc/{pid}/comm");
            while std::fs::read_to_string(&path).expect("it runs").trim() != "sleep" {
                std::thread::sleep(POLL);
            }
            pid
        })
        .join()
        .expect("the thread ends well");
        let begun = Instant::now();
        let alive = || {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z "))
        };
        while alive() {
            assert!(begun.elapsed() < Duration::from_secs(5), "process {pid} is still alive");
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn failures_name_the_program_and_what_it_said() {
        let error = output("a test", Command::new("sh").args(["-c", "echo oh no >&2; exit 3"]))
            .expect_err("it exits with 3");
        assert_eq!(error.to_string(), "a test ended with exit status 3:\noh no");
    }
}
