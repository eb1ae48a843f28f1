//! Starts the processes that do the work, and ends them, whatever becomes of them.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use exerciser::{Answer, End, Job, MAX_OUTPUT, MAX_PRINTED, Outcome, Request, Step};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::{CONFINE, WORK, confine};

/// How often a wait looks whether its process is done.
const POLL: Duration = Duration::from_millis(5);
/// How long the kernel may take to end a process that was killed.
const MERCY: Duration = Duration::from_secs(2);
/// How long it may take to read what a process printed that has ended.
const READING: Duration = Duration::from_secs(8);
/// How many bytes of results are read.
const MAX_RESULTS: usize = 1 << 20;

/// Does what was asked for.
pub fn answer(request: &Request) -> Result<Answer> {
    let deadline = Instant::now() + Duration::from_secs(request.seconds);
    if matches!(request.job, Job::Program { confined: true, .. }) {
        confine::prepare()?;
    }
    let started: Result<Vec<Running>> =
        (0..request.processes).map(|_| Running::start(&request.job)).collect();
    let answer = Answer(started?.into_iter().map(|running| running.outcome(deadline)).collect());
    if matches!(request.job, Job::Calls { .. }) {
        catch_up();
    }
    Ok(answer)
}

/// Waits until devices have answered all that the guest asked of them. A write is not waited for by
/// itself, but by the next read, be it of the configuration space.
fn catch_up() {
    for device in std::fs::read_dir("/sys/bus/pci/devices").into_iter().flatten().flatten() {
        // One that is gone has nothing to answer.
        let _ = std::fs::File::open(device.path().join("config"))
            .and_then(|mut config| config.read_exact(&mut [0; 4]));
    }
}

/// Starts a process as the first of a process namespace: all in it end with it.
fn spawn_apart(command: &mut Command) -> Result<Child> {
    // In a thread of its own: one that has children in another namespace can start no threads.
    let apart = || -> Result<Child> {
        enter_process_namespace()?;
        command.spawn().with_context(|| format!("cannot start {command:?}"))
    };
    let spawned = std::thread::scope(|scope| scope.spawn(apart).join());
    spawned.unwrap_or_else(|_| bail!("the thread that starts it panicked"))
}

/// The next process that this thread starts is the first of a process namespace.
#[expect(unsafe_code, reason = "rustix marks it so for what other flags do")]
fn enter_process_namespace() -> Result<()> {
    // SAFETY: a process namespace for future children shares no memory or descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.context("cannot make a process namespace")
}

/// A process at work, and a thread that reads what it prints.
struct Running {
    child: Child,
    printed: Arc<Mutex<Printed>>,
    program: bool,
}

/// What was read of a pipe so far.
#[derive(Default)]
struct Printed {
    bytes: Vec<u8>,
    too_much: bool,
    ended: bool,
}

impl Running {
    fn start(job: &Job) -> Result<Self> {
        let (mut command, input) = command(job)?;
        let confined = matches!(job, Job::Program { confined: true, .. });
        let program = matches!(job, Job::Program { .. });
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(if confined { Stdio::piped() } else { Stdio::inherit() });
        let mut child = if confined {
            spawn_apart(&mut command)?
        } else {
            command.spawn().with_context(|| format!("cannot start {command:?}"))?
        };
        if let Some(mut pipe) = child.stdin.take() {
            // One that does not read it has a reason of its own.
            let _ = pipe.write_all(input.as_bytes());
        }
        let pipe = child.stdout.take().context("its standard output is a pipe")?;
        let (kept, most) =
            if program { (MAX_OUTPUT, MAX_PRINTED) } else { (MAX_RESULTS, MAX_RESULTS) };
        let printed = Arc::new(Mutex::new(Printed::default()));
        let theirs = Arc::clone(&printed);
        std::thread::spawn(move || read_at_most(pipe, kept, most, &theirs));
        Ok(Self { child, printed, program })
    }

    fn outcome(mut self, deadline: Instant) -> Outcome {
        let mut end = None;
        while end.is_none() && Instant::now() < deadline {
            end = if lock(&self.printed).too_much {
                Some(self.kill(End::TooMuchOutput))
            } else {
                self.ended()
            };
            std::thread::sleep(POLL);
        }
        let end = end.unwrap_or_else(|| self.kill(End::TimedOut));
        let mut end = self.reported().unwrap_or(end);
        let stuck = matches!(end, End::Stuck { .. });
        let text = self.text(if stuck { Duration::ZERO } else { READING });
        // After too much output the pipe is closed, and SIGPIPE may be faster than the kill.
        if !stuck && lock(&self.printed).too_much {
            end = End::TooMuchOutput;
        }
        if self.program {
            return Outcome { end, steps: Vec::new(), said: text };
        }
        let steps: Vec<Step> =
            text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
        Outcome { end, steps, said: String::new() }
    }

    /// What it printed. The pipe ends with the processes that have it; that is not waited for longer.
    fn text(&self, longest: Duration) -> String {
        let begun = Instant::now();
        while !lock(&self.printed).ended && begun.elapsed() < longest {
            std::thread::sleep(POLL);
        }
        String::from_utf8_lossy(&lock(&self.printed).bytes).into_owned()
    }

    fn ended(&mut self) -> Option<End> {
        self.child.try_wait().ok().flatten().map(End::from)
    }

    /// What a process that ran an untrusted program says about its end.
    fn reported(&mut self) -> Option<End> {
        let printed = Mutex::new(Printed::default());
        read_at_most(self.child.stderr.take()?, MAX_OUTPUT, MAX_OUTPUT, &printed);
        serde_json::from_slice(&lock(&printed).bytes).ok()
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

/// Reads a pipe to its end, or until it is too much, and keeps so much of its beginning.
fn read_at_most(mut pipe: impl Read, kept: usize, most: usize, printed: &Mutex<Printed>) {
    let mut buffer = [0; 16 << 10];
    let mut read = 0;
    // What came before an error is still worth having.
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        read += count;
        let mut printed = lock(printed);
        let room = kept - printed.bytes.len();
        printed.bytes.extend(&buffer[..count.min(room)]);
        if read > most {
            printed.too_much = true;
            break;
        }
    }
    lock(printed).ended = true;
}

fn lock(printed: &Mutex<Printed>) -> MutexGuard<'_, Printed> {
    printed.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn what_it_printed_counts_while_others_keep_its_output_open() {
        let outcome = program("echo early; sleep 2 & exit 0", 20);
        assert_eq!((outcome.said.as_str(), outcome.end), ("early\n", End::Exited(0)));
    }

    #[test]
    fn a_program_without_end_is_ended() {
        assert_eq!(program("exec sleep 1000", 1).end, End::TimedOut);
        // Each of several, since the closed pipe's signal races with ours.
        for _ in 0..8 {
            let outcome = program("exec yes", 20);
            assert_eq!((outcome.end, outcome.said.len()), (End::TooMuchOutput, MAX_OUTPUT));
        }
    }
}
