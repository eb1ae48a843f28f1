//! The daemon of a run: `my-rng-server`, or another program with a device.

mod exchange;
mod guard;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use exchange::Successor;
use rustix::process::{Pid, Signal};

use crate::process::{self, Child};
use crate::run_dir::RunDir;
use crate::{cargo_build, files, qemu};

/// How long it may take to its end or to a line of its log.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A running daemon; it ends when the value goes.
#[derive(Debug)]
pub struct Server<'run> {
    run: &'run RunDir,
    /// Its name in the run.
    name: String,
    /// The program's.
    called: String,
    child: Child,
    /// The process that has taken its place.
    successor: Option<Successor>,
    /// Whether a debugger may stop it.
    debugged: bool,
    /// How much of its log was there when a process that was to take its place was refused last.
    refused: usize,
}

impl<'run> Server<'run> {
    /// Starts our daemon and waits until it listens on `NAME.sock` in the run's folder; its log is
    /// `NAME.log` there.
    pub fn start(run: &'run RunDir, name: &str, options: &[&str]) -> Result<Self> {
        Self::start_program(run, name, &cargo_build::server()?, options)
    }

    /// As [`Server::start`], with another program that takes the device kit's usual options.
    pub fn start_program(
        run: &'run RunDir,
        name: &str,
        program: &Path,
        options: &[&str],
    ) -> Result<Self> {
        let socket = socket(name);
        Self::launch(run, name, program, &[&["--socket-path", &socket], options].concat())
    }

    /// Starts our daemon with a configuration file, `NAME.toml` in the run's folder. Its guests'
    /// sockets are to be `GUEST.sock`.
    pub fn start_configured(run: &'run RunDir, name: &str, configuration: &str) -> Result<Self> {
        let file = format!("{name}.toml");
        files::write(run.path().join(&file), configuration)?;
        Self::launch(run, name, &cargo_build::server()?, &["--config", &file])
    }

    fn launch(run: &'run RunDir, name: &str, program: &Path, options: &[&str]) -> Result<Self> {
        let log = format!("{name}.log");
        let mut command = process::tied(program);
        // Its standard output is what it announces its readiness on.
        command.args(options).args(["--ready-fd", "1"]).current_dir(run.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(append(run, &log)?);
        let called = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut child = Child::spawn(&called, &mut command)?;
        let mut ready = child.take_stdout().context("its standard output is a pipe")?;
        let mut newline = [0];
        // It closes the pipe when it ends, so this ends too.
        if ready.read(&mut newline).unwrap_or(0) == 0 {
            let end = child.wait(WAIT_TIMEOUT).map(process::describe);
            let end = end.unwrap_or_else(|error| error.to_string());
            bail!("{called} did not start ({end}); {}", run.tail(&log));
        }
        Ok(Self {
            run,
            name: name.to_owned(),
            called,
            child,
            successor: None,
            debugged: false,
            refused: 0,
        })
    }

    /// Lets a debugger stop it: a QEMU that attaches from now on waits for its answers.
    #[must_use]
    pub fn debugged(self) -> Self {
        Self { debugged: true, ..self }
    }

    /// Its name in the run.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device it serves, as QEMU is told.
    pub fn device(&self) -> serde_json::Value {
        let mut device = qemu::vfio_user_device(&self.name, &socket(&self.name));
        if self.debugged {
            let milliseconds = u64::try_from(qemu::DEBUG_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
            device["x-msg-timeout"] = milliseconds.into();
        }
        device
    }

    /// The device of one of its guests, if it has a configuration file.
    pub fn device_of(&self, guest: &str) -> serde_json::Value {
        qemu::vfio_user_device(guest, &socket(guest))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process().as_raw_pid().unsigned_abs()
    }

    fn process(&self) -> Pid {
        self.successor.as_ref().map_or(self.child.process(), |successor| successor.process)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.run.read(&format!("{}.log", self.name))
    }

    /// What it has logged since a process was refused that was to take its place: that one has told
    /// its mistake in the same log.
    pub fn own_log(&self) -> String {
        self.log().get(self.refused..).unwrap_or_default().to_owned()
    }

    /// Waits until its log says something.
    pub fn wait_for_log(&self, text: &str) -> Result<()> {
        let logged = || Ok(self.log().contains(text).then_some(()));
        process::wait_for(WAIT_TIMEOUT, logged)?.with_context(|| {
            let (called, seconds) = (&self.called, WAIT_TIMEOUT.as_secs());
            let log = self.run.tail(&format!("{}.log", self.name));
            format!("{called} did not log {text:?} in {seconds} s; {log}")
        })
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> Result<bool> {
        match &self.successor {
            Some(successor) => Ok(successor.runs()),
            None => Ok(self.child.ended()?.is_none()),
        }
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(mut self) -> Result<()> {
        match &self.successor {
            Some(successor) => successor.end(Signal::KILL),
            None => self.child.kill(),
        }
    }

    /// Asks it to end, as `kill` does, and returns how it ended; for one that was exchanged, how the
    /// first process did.
    pub fn stop(mut self) -> Result<ExitStatus> {
        if let Some(successor) = &self.successor {
            successor.end(Signal::TERM)?;
            return self.child.wait(WAIT_TIMEOUT);
        }
        self.child.terminate()?;
        self.child.wait(WAIT_TIMEOUT)
    }
}

/// The name of a server's socket in the run's folder.
fn socket(name: &str) -> String {
    format!("{name}.sock")
}

/// A log to write at the end of: a server that is started again continues it.
fn append(run: &RunDir, log: &str) -> Result<fs::File> {
    let path = run.path().join(log);
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}
