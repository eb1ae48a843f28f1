//! What a request costs the process that serves it: processor time, sleeps, system calls.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab::process::{self, Child};

/// How long strace may take to attach, and to write its table.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// What happens less often than that is no cost of a request.
const RARE: f64 = 0.01;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of processor time.
    pub busy_ns: u64,
    /// How often a thread went to sleep, to be woken for the next thing.
    pub sleeps: u64,
}

impl Usage {
    /// That of all threads of a process.
    pub fn of(process: u32) -> Result<Self> {
        let mut usage = Self::default();
        for thread in threads(process)? {
            // A thread that has just ended has no files any more.
            let read = |name: &str| fs::read_to_string(thread.join(name)).unwrap_or_default();
            let (times, status) = (read("schedstat"), read("status"));
            let busy = times.split(' ').next().and_then(|busy| busy.parse::<u64>().ok());
            let sleeps = status.lines().find_map(|line| {
                line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok()
            });
            usage.busy_ns += busy.unwrap_or(0);
            usage.sleeps += sleeps.unwrap_or(0);
        }
        Ok(usage)
    }
}

fn threads(process: u32) -> Result<Vec<PathBuf>> {
    let folder = format!("/proc/{process}/task");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
    Ok(entries.flatten().map(|thread| thread.path()).collect())
}

/// System calls of each request, as strace counts them.
#[derive(Debug)]
pub enum SystemCalls {
    /// How many, by name.
    Counted(Vec<(String, f64)>),
    /// Why not.
    Unknown(&'static str),
}

impl SystemCalls {
    /// Counts what a process does while `serve` has it serve requests, of which it returns how many.
    pub fn count(process: u32, serve: impl FnOnce() -> Result<f64>) -> Result<Self> {
        if !process::in_path("strace") {
            return Ok(Self::Unknown("strace is not installed"));
        }
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let table = folder.path().join("table");
        let mut command = process::tied("strace");
        command.args(["-f", "-qq", "-c", "-U", "calls,name", "-p", &process.to_string(), "-o"]);
        command.arg(&table).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut strace = Child::spawn("strace", &mut command)?;
        let begun = Instant::now();
        while !traced(process)? {
            if strace.ended()?.is_some() {
                return Ok(Self::Unknown("strace may not look at the process"));
            }
            if begun.elapsed() > WAIT_TIMEOUT {
                bail!("strace does not attach in {} s", WAIT_TIMEOUT.as_secs());
            }
            std::thread::sleep(process::POLL);
        }
        let requests = serve()?;
        strace.terminate()?;
        strace.wait(WAIT_TIMEOUT)?;
        let table = fs::read_to_string(&table).context("strace has written no table")?;
        Ok(Self::Counted(calls(&table, requests)))
    }
}

/// Whether all threads of a process are being traced.
fn traced(process: u32) -> Result<bool> {
    let status = |thread: &PathBuf| fs::read_to_string(thread.join("status")).unwrap_or_default();
    Ok(threads(process)?.iter().all(|thread| !status(thread).contains("TracerPid:\t0\n")))
}

/// The calls in strace's table, which has a count and a name in each line between head and sum.
fn calls(table: &str, requests: f64) -> Vec<(String, f64)> {
    let row = |line: &str| {
        let (count, name) = line.trim().split_once(' ')?;
        Some((name.trim().to_owned(), count.parse::<f64>().ok()? / requests))
    };
    let rows = table.lines().filter_map(row);
    rows.filter(|(name, count)| name != "total" && *count >= RARE).collect()
}

impl fmt::Display for SystemCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => write!(f, "not counted: {why}"),
            Self::Counted(calls) => {
                write!(f, "{:>8.2}", calls.iter().map(|(_, count)| count).sum::<f64>())?;
                for (position, (name, count)) in calls.iter().enumerate() {
                    let before = if position == 0 { ": " } else { ", " };
                    write!(f, "{before}{name} {count:.2}")?;
                }
                Ok(())
            }
        }
    }
}
