//! Starts the processes that do the work, and ends them, whatever becomes of them.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use exerciser::{Answer, End, Job, MOST_OUTPUT, Outcome, Request, Step};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::{CONFINE, WORK, confine};

/// How often a wait looks whether its process is done.
const POLL: Duration = Duration::from_millis(5);
/// How long the kernel may take to end a process that was killed.
const MERCY: Duration = Duration::from_secs(2);
/// How many bytes of results are read.
const MOST_RESULTS: usize = 1 << 20;

/// Does what was asked for.
pub fn answer(request: &Request) -> Result<Answer> {
    let deadline = Instant::now() + Duration::from_secs(request.seconds);
    if matches!(request.job, Job::Program { confined: true, .. }) {
        confine::prepare()?;
        enter_process_namespace()?;
    }
    let started: Result<Vec<Running>> =
        (0..request.processes).map(|_| Running::start(&request.job)).collect();
    Ok(Answer(started?.into_iter().map(|running| running.outcome(deadline)).collect()))
}

/// The next process that is started is the first of a process namespace, and all in it end with it.
#[expect(unsafe_code, reason = "rustix marks it so for what other flags do")]
fn enter_process_namespace() -> Result<()> {
    // SAFETY: a process namespace for future children shares no memory or descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.context("cannot make a process namespace")
}

/// How a process ended, from its status.
pub fn end(status: ExitStatus) -> End {
    match status.signal() {
        Some(signal) => End::Killed(signal),
        None => End::Exited(status.code().unwrap_or(-1)),
    }
}

/// A process at work, and a thread that reads what it prints.
struct Running {
    child: Child,
    output: Receiver<Printed>,
    /// What a process that runs a stranger's program reports.
    status: Option<std::process::ChildStderr>,
    program: bool,
}

/// What was read of a pipe.
struct Printed {
    bytes: Vec<u8>,
    too_much: bool,
}

impl Running {
    fn start(job: &Job) -> Result<Self> {
        let (mut command, input) = command(job)?;
        let confined = matches!(job, Job::Program { confined: true, .. });
        let program = matches!(job, Job::Program { .. });
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(if confined { Stdio::piped() } else { Stdio::inherit() });
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        if let Some(mut pipe) = child.stdin.take() {
            // One that does not read it has a reason of its own.
            let _ = pipe.write_all(input.as_bytes());
        }
        let pipe = child.stdout.take().context("its standard output is a pipe")?;
        let most = if program { MOST_OUTPUT } else { MOST_RESULTS };
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            // The receiver may have given up.
            let _ = sender.send(read_at_most(pipe, most));
        });
        let status = child.stderr.take();
        Ok(Self { child, output, status, program })
    }

    fn outcome(mut self, deadline: Instant) -> Outcome {
        let mut read = None;
        let mut end = None;
        while end.is_none() && Instant::now() < deadline {
            if let Ok(done) = self.output.try_recv() {
                if done.too_much {
                    end = Some(self.kill(End::TooMuchOutput));
                }
                read = Some(done);
            }
            if end.is_none() {
                end = self.ended();
            }
            std::thread::sleep(POLL);
        }
        let end = end.unwrap_or_else(|| self.kill(End::TimedOut));
        let end = self.reported().unwrap_or(end);
        // The pipe ends with the processes that have it, unless the kernel keeps one.
        let read = read.or_else(|| self.output.recv_timeout(MERCY).ok());
        let text = read.map(|read| String::from_utf8_lossy(&read.bytes).into_owned());
        let text = text.unwrap_or_default();
        if self.program {
            return Outcome { end, steps: Vec::new(), said: text };
        }
        let steps: Vec<Step> =
            text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
        Outcome { end, steps, said: String::new() }
    }

    fn ended(&mut self) -> Option<End> {
        self.child.try_wait().ok().flatten().map(end)
    }

    /// What a process that ran a stranger's program says about its end.
    fn reported(&mut self) -> Option<End> {
        let read = read_at_most(self.status.take()?, MOST_OUTPUT);
        serde_json::from_slice(&read.bytes).ok()
    }

    /// Kills it and says how it ended.
    fn kill(&mut self, reason: End) -> End {
        let pid = self.child.id();
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let begun = Instant::now();
        while begun.elapsed() < MERCY {
            if self.ended().is_some() {
                return reason;
            }
            std::thread::sleep(POLL);
        }
        End::Stuck { state: state(pid), stack: stack(pid) }
    }
}

/// What starts a process that does the job, and its input.
fn command(job: &Job) -> Result<(Command, String)> {
    let this = std::env::current_exe().context("where is this program?")?;
    Ok(match job {
        Job::Program { command, input, confined: true } => {
            let mut start = Command::new(this);
            start.arg(CONFINE).args(command);
            (start, input.clone())
        }
        Job::Program { command, input, confined: false } => {
            // Both of its streams in one, in their order.
            let mut start = Command::new("sh");
            start.args(["-c", "exec \"$@\" 2>&1", "sh"]).args(command);
            (start, input.clone())
        }
        job => {
            let mut start = Command::new(this);
            start.arg(WORK);
            (start, serde_json::to_string(job).context("a job is plain data")?)
        }
    })
}

fn read_at_most(pipe: impl Read, most: usize) -> Printed {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    // What came before an error is still worth having.
    let _ = pipe.take(limit).read_to_end(&mut bytes);
    let too_much = bytes.len() > most;
    bytes.truncate(most);
    Printed { bytes, too_much }
}

/// A process's state, the letter behind its name in /proc.
fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
}

/// Where in the kernel a process waits; nothing when it runs.
fn stack(pid: u32) -> String {
    let stack = std::fs::read_to_string(format!("/proc/{pid}/stack")).unwrap_or_default();
    let functions = stack.lines().filter_map(|line| line.split_whitespace().nth(1));
    functions.map(|name| format!("{name}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str, seconds: u64) -> Outcome {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let job = Job::Program { command, input: "given\n".to_owned(), confined: false };
        let request = Request { job, processes: 1, seconds };
        answer(&request).expect("a shell can be started").0.remove(0)
    }

    #[test]
    fn a_program_gives_its_output_and_its_end() {
        let outcome = program("read word; echo $word; echo more >&2; exit 3", 20);
        assert_eq!((outcome.said.as_str(), outcome.end), ("given\nmore\n", End::Exited(3)));
        assert_eq!(program("kill -11 $$", 20).end, End::Killed(11));
    }

    #[test]
    fn a_program_without_end_is_ended() {
        assert_eq!(program("exec sleep 1000", 1).end, End::TimedOut);
        let outcome = program("exec yes", 20);
        assert_eq!((outcome.end, outcome.said.len()), (End::TooMuchOutput, MOST_OUTPUT));
    }
}
