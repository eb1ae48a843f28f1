//! A student's device: a program that runs behind the lab's wall, in a folder of its own.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::process::{self, Child};
use lab::sandbox::{Limits, Sandbox};
use lab::{RunDir, qemu};
use serde_json::Value;

use crate::report::Failure;

/// The name of its socket.
const SOCKET: &str = "device.sock";
/// How long it may take to listen on it, on any machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running device.
#[derive(Debug)]
pub struct DeviceProgram<'run> {
    run: &'run RunDir,
    child: Child,
    /// Its number in the run.
    number: u32,
}

/// Why it does not run.
#[derive(Debug)]
pub enum NotStarted {
    /// The student's fault.
    Submission(Failure),
    /// Ours.
    Lab(anyhow::Error),
}

impl From<anyhow::Error> for NotStarted {
    fn from(error: anyhow::Error) -> Self {
        Self::Lab(error)
    }
}

impl<'run> DeviceProgram<'run> {
    /// Starts it and waits until it listens.
    pub fn start(run: &'run RunDir, number: u32, program: &Path) -> Result<Self, NotStarted> {
        let folder = folder(run, number);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let sandbox = Sandbox::with_host_programs(Limits { time: TIME, ..Limits::PROGRAM })?
            .shows(program, Path::new("/device"))
            .writable(&folder, Path::new("/run"))
            .folder(Path::new("/run"));
        let mut command = sandbox.command("/device")?;
        command.args(["--socket-path", SOCKET, "--ready-fd", "1", "-vv"]);
        // At its end, wherever that is when it was emptied.
        let path = run.path().join(log(number));
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = Child::spawn("bubblewrap", &mut command)?;
        let pipe = child.take_stdout().context("its standard output is a pipe")?;
        let mut device = Self { run, child, number };
        if device.is_ready(pipe) {
            return Ok(device);
        }
        let how = match device.child.ended()? {
            Some(status) => format!("ended with {} instead", process::describe(status)),
            None => format!("had not done so after {} s", PATIENCE.as_secs()),
        };
        Err(NotStarted::Submission(
            Failure::new(format!(
                "the device program has to listen on the socket that --socket-path names and then \
                 write a newline to the descriptor that --ready-fd names, as vfio_user_kit::main \
                 does; it {how}"
            ))
            .with(run.tail(&self::log(number))),
        ))
    }

    /// Waits until it says that it is ready.
    fn is_ready(&mut self, mut pipe: std::process::ChildStdout) -> bool {
        let (sender, said) = mpsc::channel();
        // It ends with the pipe, which ends with the program.
        std::thread::spawn(move || {
            let mut byte = [0];
            // Nobody may be waiting any more.
            let _ = sender.send(pipe.read(&mut byte).unwrap_or(0) > 0);
            // A program that goes on to print gets rid of it, and is not kept waiting.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        });
        said.recv_timeout(PATIENCE).unwrap_or(false)
    }

    /// The device, as QEMU is told, which runs in the run's folder.
    #[must_use]
    pub fn device(&self) -> Value {
        let name = format!("device-{}", self.number);
        qemu::vfio_user_device(&name, &format!("{name}/{SOCKET}"))
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.run.read(&log(self.number))
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Result<Option<String>> {
        Ok(self.child.ended()?.map(process::describe))
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.run.tail(&log(self.number))
    }
}

/// How much processor time it may use: the guest's own deadlines end it long before.
const TIME: Duration = Duration::from_secs(600);

fn folder(run: &RunDir, number: u32) -> PathBuf {
    run.path().join(format!("device-{number}"))
}

fn log(number: u32) -> String {
    format!("device-{number}.log")
}
