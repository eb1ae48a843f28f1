//! A student's device: a program that runs in the lab's sandbox, in a folder of its own.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::sandbox::{End, Limits, Sandbox, Watched};
use lab::{RunDir, c_device, files, lock, process, qemu};
use serde_json::Value;

use crate::build::BuiltDevice;
use crate::recordings;
use crate::report::Failure;
use crate::stop::Stop;

/// The name of its socket.
const SOCKET: &str = "device.sock";
/// How long it may take to listen on it, on any machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to end, or to be gone once it was killed.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The processor time is far more than a guest's own deadlines allow.
const LIMITS: Limits = Limits { time: Duration::from_secs(600), ..Limits::PROGRAM };
/// What bubblewrap ends with for a program that SIGXFSZ ended: its file grew too large.
const FILE_TOO_LARGE: i32 = 128 + 25;

/// A running device.
#[derive(Debug)]
pub struct DeviceProgram<'run> {
    run: &'run RunDir,
    /// Always there until the value goes.
    program: Option<Watched>,
    /// Its number in the run.
    number: u32,
}

impl<'run> DeviceProgram<'run> {
    /// Starts it and waits until it listens.
    pub fn start(run: &'run RunDir, number: u32, built: &BuiltDevice) -> Result<Self, Stop> {
        let mut device = Self { run, program: None, number };
        let folder = device.folder();
        files::create_folder(&folder)?;
        let sandbox = Sandbox::with_host_programs(LIMITS)?
            .shows(&built.program, Path::new("/device"))
            .writable(&folder, Path::new("/run"))
            .folder(Path::new("/run"));
        let sandbox = recordings::ENVIRONMENT
            .iter()
            .fold(sandbox, |sandbox, (name, value)| sandbox.environment(name, value));
        let sandbox = if built.sanitized { sandbox.reserves_memory() } else { sandbox };
        let mut command = sandbox.command("/device")?;
        command.args(["--socket-path", SOCKET, "--ready-fd", "1", "-vv"]);
        // At its end, wherever that is when it was emptied.
        let path = device.log_path();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut program = sandbox.start(&mut command)?;
        let pipe = program.take_stdout().context("its standard output is a pipe")?;
        device.program = Some(program);
        let fault = match device.not_ready(pipe)? {
            None => device.take_socket()?,
            fault => fault,
        };
        let Some(fault) = fault else { return Ok(device) };
        Err(Failure::new(fault).with(device.tail()).into())
    }

    /// Waits until it says that it is ready; otherwise, in words, what it did instead.
    fn not_ready(&mut self, pipe: ChildStdout) -> Result<Option<String>> {
        let Some(how) = self.wait(&first_byte(pipe))? else { return Ok(None) };
        if let Some(mistake) = self.mistake() {
            return Ok(Some(mistake));
        }
        if self.over_limits()? {
            return Ok(Some(format!("the device program {how}")));
        }
        Ok(Some(format!(
            "the device program has to listen on the socket that --socket-path names and then \
             write a newline to the descriptor that --ready-fd names, as vfio_user_device::main \
             does; it {how}"
        )))
    }

    /// Waits for that; otherwise, what came instead.
    fn wait(&mut self, ready: &Receiver<()>) -> Result<Option<String>> {
        let begun = Instant::now();
        let mut closed: Option<Instant> = None;
        loop {
            match ready.recv_timeout(process::POLL) {
                Ok(()) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    closed.get_or_insert_with(Instant::now);
                    std::thread::sleep(process::POLL);
                }
            }
            if let Some(end) = self.ended()? {
                return Ok(Some(end));
            }
            // Its end, which may follow, says more.
            if closed.is_some_and(|closed| closed.elapsed() > LAST_WORDS) {
                return Ok(Some("closed the descriptor without a word".to_owned()));
            }
            if begun.elapsed() > WAIT_TIMEOUT {
                return Ok(Some(format!("had not done so after {} s", WAIT_TIMEOUT.as_secs())));
            }
        }
    }

    /// Moves its socket to where the program cannot replace it, by a link to another one's for
    /// example, which QEMU would follow. The fault, in words, when it is no socket.
    fn take_socket(&self) -> Result<Option<String>> {
        let (made, taken) = (self.folder().join(SOCKET), self.socket_path());
        let found = match fs::rename(&made, &taken) {
            // Only now, when the program cannot change it any more. A link is not followed.
            Ok(()) => fs::symlink_metadata(&taken)
                .with_context(|| format!("cannot look at {}", taken.display()))?
                .file_type(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Some(
                    "the device program says that it is ready, but there is no socket where \
                     --socket-path says"
                        .to_owned(),
                ));
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot move {}", made.display()));
            }
        };
        Ok((!found.is_socket()).then(|| {
            let what = match (found.is_symlink(), found.is_dir()) {
                (true, _) => "a symbolic link",
                (_, true) => "a folder",
                _ => "something else",
            };
            format!(
                "the device program has to make a Unix socket where --socket-path says, and made \
                 {what}"
            )
        }))
    }

    /// The device, as QEMU is told, which runs in the run's folder.
    #[must_use]
    pub fn device(&self) -> Value {
        let name = format!("device-{}", self.number);
        qemu::vfio_user_device(&name, &format!("{name}.sock"))
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.run.read(&self.log_name())
    }

    /// What was wrong with it, if it has ended with a sentence about that.
    #[must_use]
    pub fn mistake(&self) -> Option<String> {
        let said = c_device::mistake_in(&self.log()).replace("/work/crate/", "").replace("./", "");
        // The last one is for people in front of a guest.
        let said = said.lines().filter(|line| !line.contains("the device has stopped"));
        let said: Vec<&str> = said.map(|line| line.trim().trim_start_matches("error: ")).collect();
        (!said.is_empty())
            .then(|| format!("the device has ended by a mistake: {}", said.join("; ")))
    }

    fn end(&mut self) -> Result<Option<End>> {
        self.program.as_mut().context("it was started")?.ended()
    }

    /// How it ended, when it has, for a sentence that begins with "the device program".
    pub fn ended(&mut self) -> Result<Option<String>> {
        let Some(end) = self.end()? else { return Ok(None) };
        if !file_too_large(end) {
            return Ok(Some(end.describe()));
        }
        let most = LIMITS.disk;
        let logged = fs::metadata(self.log_path()).is_ok_and(|log| log.len() >= most);
        let file = if logged { "endless output: its log is" } else { "one of its files is" };
        Ok(Some(format!("was killed ({file} longer than {} MiB)", most >> 20)))
    }

    /// Whether it was killed because it went over its limits.
    pub fn over_limits(&mut self) -> Result<bool> {
        Ok(self.end()?.is_some_and(|end| !matches!(end, End::Ended(_)) || file_too_large(end)))
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.run.tail(&self.log_name())
    }

    /// What it may write to.
    fn folder(&self) -> PathBuf {
        self.run.path().join(format!("device-{}", self.number))
    }

    /// Where its socket is once it is out of its reach.
    fn socket_path(&self) -> PathBuf {
        self.run.path().join(format!("device-{}.sock", self.number))
    }

    fn log_name(&self) -> String {
        format!("device-{}.log", self.number)
    }

    fn log_path(&self) -> PathBuf {
        self.run.path().join(self.log_name())
    }
}

/// Tells of the first byte that comes through a pipe, and takes all others out of it.
fn first_byte(mut pipe: ChildStdout) -> Receiver<()> {
    let (sender, ready) = mpsc::channel();
    // It ends with the pipe, which ends with the program.
    std::thread::spawn(move || {
        let mut byte = [0];
        if pipe.read(&mut byte).unwrap_or(0) > 0 {
            // The other side may have stopped waiting.
            let _ = sender.send(());
        }
        drop(sender);
        // A program that goes on to print gets rid of it, and is not kept waiting.
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    });
    ready
}

fn file_too_large(end: End) -> bool {
    matches!(end, End::Ended(status) if status.code() == Some(FILE_TOO_LARGE))
}

impl Drop for DeviceProgram<'_> {
    fn drop(&mut self) {
        drop(self.program.take());
        recordings::take(&self.folder(), &self.folder());
        for path in [self.socket_path(), self.folder()] {
            let begun = Instant::now();
            // The last of its family may still write. What is left over is removed by the next run
            // of this name.
            while lock::remove(&path).is_err() && begun.elapsed() < LAST_WORDS {
                std::thread::sleep(process::POLL);
            }
        }
    }
}

#[cfg(test)]
mod tests;
