//! The daemon that is measured, and what it costs.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use tempfile::TempDir;

/// The sockets' name, before their numbers.
const SOCKET: &str = "s";

/// A daemon with a socket for each of many guests.
pub struct Host {
    folder: TempDir,
    process: Child,
}

impl Host {
    /// Starts one and waits until all its sockets listen.
    pub fn start(device: &str, guests: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = File::create(folder.path().join("log"))?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_my-rng-server"))
            .args(["--device", device, "--ready-fd", "1", "--socket-count", &guests.to_string()])
            .arg("--socket-path")
            .arg(folder.path().join(SOCKET))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut ready = process.stdout.take().context("standard output")?;
        ready.read_exact(&mut [0; 1]).context("the server did not become ready")?;
        Ok(Host { folder, process })
    }

    /// Where a guest connects.
    pub fn socket(&self, guest: usize) -> PathBuf {
        self.folder.path().join(format!("{SOCKET}{guest}"))
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("VmRSS")?;
        Ok(kib.parse()?)
    }

    /// Processor time of the present threads so far, to the nanosecond.
    pub fn processor_time(&self) -> Result<Duration> {
        let mut total = 0;
        for thread in self.threads()? {
            // "nanoseconds on a processor, nanoseconds waiting for one, time slices"; a thread that
            // has ended in between has no such file any more.
            let path = format!("/proc/{}/task/{thread}/schedstat", self.process.id());
            let text = fs::read_to_string(path).unwrap_or_default();
            total += text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(total))
    }

    /// Processor time so far, also of threads that have ended, in steps of 10 ms.
    pub fn processor_time_of_all(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // Behind the name, which may have blanks in it: field 14 is user time, 15 system time.
        let (_, fields) = stat.rsplit_once(") ").context("stat")?;
        let times = fields.split(' ').skip(11).take(2);
        let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_secs(ticks) / u32::try_from(clock_ticks_per_second())?)
    }

    /// The threads of the server, by their numbers.
    pub fn threads(&self) -> Result<Vec<i32>> {
        let folder = format!("/proc/{}/task", self.process.id());
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name().to_str().context("a number")?.parse()?))
            .collect()
    }

    /// Lets threads run on one processor alone. Threads that they start do the same.
    pub fn keep_threads_to(&self, threads: &[i32], processor: usize) -> Result<()> {
        threads.iter().try_for_each(|thread| keep_to(Pid::from_raw(*thread), processor))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A process that has ended already is as good as one that is killed now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Lets a thread (`None`: this one) run on one processor alone.
pub fn keep_to(thread: Option<Pid>, processor: usize) -> Result<()> {
    let mut processors = CpuSet::new();
    processors.set(processor);
    sched_setaffinity(thread, &processors)
        .with_context(|| format!("cannot keep a thread to processor {processor}"))
}
