//! What the benchmarks of a register read have in common: processes that are asked again and again.
// Each benchmark uses a part of it.
#![allow(dead_code)]

use std::env;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use vfio_user_client::Connection;
use vfio_user_client::message::{REGION_READ, VERSION, access, message, version};

/// Size of a 4-byte REGION_READ.
const REQUEST: usize = 32;
/// Size of its reply.
const REPLY: usize = 36;
/// Set in the environment of the process at the other end of the ping-pong.
pub const PONG: &str = "REGISTER_READ_PONG";

/// Keeps this process, and those that it starts, on the processor where it is.
pub fn keep_to_one_processor() -> Result<()> {
    let mut processors = CpuSet::new();
    processors.set(sched_getcpu());
    sched_setaffinity(None, &processors).context("cannot keep to one processor")
}

/// A process at the other end of a socket.
pub struct Contender {
    pub name: String,
    socket: UnixStream,
    process: Child,
    pub times: Vec<Duration>,
}

impl Contender {
    pub fn ping_pong(folder: &Path) -> Result<Self> {
        let path = folder.join("ping-pong");
        let listener = UnixListener::bind(&path)?;
        let process = Command::new(env::current_exe()?).env(PONG, &path).spawn()?;
        let (socket, _) = listener.accept()?;
        let name = format!("ping-pong, {REQUEST} and {REPLY} bytes");
        Ok(Contender { name, socket, process, times: Vec::new() })
    }

    pub fn server(folder: &Path, name: &str, options: &[&str]) -> Result<Self> {
        Self::program(Path::new(env!("CARGO_BIN_EXE_my-rng-server")), folder, name, options)
    }

    /// A server whose program is this one.
    pub fn program(program: &Path, folder: &Path, name: &str, options: &[&str]) -> Result<Self> {
        let path = folder.join(name);
        let mut process = Command::new(program)
            .args(["--ready-fd", "1", "--socket-path"])
            .arg(&path)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = process.stdout.take().context("the server's standard output")?;
        ready.read_exact(&mut [0; 1]).context("the server did not become ready")?;
        let socket = negotiated(&path)?;
        Ok(Contender { name: name.into(), socket, process, times: Vec::new() })
    }

    /// Exchanges `count` requests and replies, each timed.
    pub fn round(&mut self, count: usize) -> Result<()> {
        let request = read_of_random();
        let mut reply = [0; REPLY];
        self.times.reserve(count);
        for _ in 0..count {
            let start = Instant::now();
            self.socket.write_all(&request)?;
            self.socket.read_exact(&mut reply)?;
            self.times.push(start.elapsed());
        }
        Ok(())
    }

    pub fn percentile(&mut self, percent: usize) -> Duration {
        self.times.sort_unstable();
        self.times[self.times.len() * percent / 100]
    }

    pub fn mean(&self) -> Duration {
        self.times.iter().sum::<Duration>() / u32::try_from(self.times.len()).unwrap_or(u32::MAX)
    }

    pub fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("VmRSS")?;
        Ok(kib.parse()?)
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        // A process that has ended already is as good as one that is killed now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A REGION_READ of four bytes at offset 0 of BAR 0.
fn read_of_random() -> Vec<u8> {
    message(1, REGION_READ, &access(0, 0, 4))
}

/// A socket on which the server and this client have agreed on a version.
fn negotiated(path: &Path) -> Result<UnixStream> {
    let mut connection = Connection::connect(path, Duration::from_secs(20))?;
    let reply = connection.request(VERSION, &version(0, 0, &[]), &[])?;
    ensure!(reply.header.error == 0, "the server refused VERSION: errno {}", reply.header.error);
    Ok(connection.into_socket().into())
}

/// The other end of the ping-pong, until the socket closes.
pub fn pong(path: &Path) -> Result<()> {
    let mut socket = UnixStream::connect(path)?;
    let mut request = [0; REQUEST];
    while socket.read_exact(&mut request).is_ok() {
        socket.write_all(&[0; REPLY])?;
    }
    Ok(())
}
