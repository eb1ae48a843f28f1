//! What a register read costs, next to the least that it could cost.
//!
//! The floor is a ping-pong of 32 and 36 bytes, the sizes of a 4-byte REGION_READ and its reply,
//! over the same kind of socket between two processes that do nothing else. Both are measured in
//! one run, in alternating rounds, because figures of different runs cannot be compared on a
//! machine that parks its processors. `./scripts/bench.sh` runs it; `--check RATIO` makes it fail
//! when the ratio of the medians is larger. It then keeps to one processor: waking another one up
//! takes several times as long as a read on some machines, in some rounds and not in others, and
//! would be all that is compared.

mod check;

use std::cmp::Ordering;
use std::env;
use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use vfio_user_kit::wire::{Command as WireCommand, Header, RegionAccess, Version};
use zerocopy::{FromBytes, IntoBytes};

/// Size of a 4-byte REGION_READ.
const REQUEST: usize = 32;
/// Size of its reply.
const REPLY: usize = 36;
/// Reads in a round.
const ROUND: usize = 2_000;
/// Rounds of each contender.
const ROUNDS: usize = 30;
/// Exchanges before the first round.
const WARM_UP: usize = 2_000;
/// Microseconds of busy polling that are shown.
const BUSY_POLL_US: &str = "50";
/// Set in the environment of the process at the other end of the ping-pong.
const PONG: &str = "REGISTER_READ_PONG";

fn main() -> Result<()> {
    if let Some(path) = env::var_os(PONG) {
        return pong(Path::new(&path));
    }
    let limit = check::limit()?;
    if limit.is_some() {
        keep_to_one_processor()?;
    }
    check::checked(limit, Ordering::Greater, "a register read in terms of a ping-pong", measure)
}

/// Keeps this process, and those that it starts, on the processor where it is.
fn keep_to_one_processor() -> Result<()> {
    let mut processors = CpuSet::new();
    processors.set(sched_getcpu());
    sched_setaffinity(None, &processors).context("cannot keep to one processor")
}

/// Measures and reports all contenders; returns the ratio of a register read to a ping-pong.
fn measure() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut ping = Contender::ping_pong(folder.path())?;
    let mut plain = Contender::server(folder.path(), "REGION_READ", &[])?;
    let options = ["--busy-poll-us", BUSY_POLL_US];
    let mut busy = Contender::server(folder.path(), "REGION_READ, --busy-poll-us 50", &options)?;
    for contender in [&mut ping, &mut plain, &mut busy] {
        contender.round(WARM_UP)?;
        contender.times.clear();
    }
    for round in 0..ROUNDS {
        for contender in [&mut ping, &mut plain, &mut busy] {
            contender.round(ROUND)?;
        }
        if std::io::stderr().is_terminal() {
            let end = if round + 1 < ROUNDS { "" } else { "\n" };
            eprint!("\rround {}/{ROUNDS}{end}", round + 1);
        }
    }
    println!("4-byte register read, {} of each, alternating rounds of {ROUND}", ROUND * ROUNDS);
    println!("{:<34} {:>9} {:>9} {:>9}  ratio of p50", "", "p50 us", "p99 us", "mean us");
    let floor = ping.percentile(50).as_secs_f64();
    for contender in [&mut ping, &mut plain, &mut busy] {
        let (p50, p99, mean) =
            (contender.percentile(50), contender.percentile(99), contender.mean());
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "{:<34} {:>9.2} {:>9.2} {:>9.2}  {:.2}",
            contender.name,
            micros(p50),
            micros(p99),
            micros(mean),
            p50.as_secs_f64() / floor
        );
    }
    println!("resident memory of the server with one idle client: {} KiB", plain.resident_kib()?);
    Ok(plain.percentile(50).as_secs_f64() / floor)
}

/// A process at the other end of a socket.
struct Contender {
    name: String,
    socket: UnixStream,
    process: Child,
    times: Vec<Duration>,
}

impl Contender {
    fn ping_pong(folder: &Path) -> Result<Self> {
        let path = folder.join("ping-pong");
        let listener = UnixListener::bind(&path)?;
        let process = Command::new(env::current_exe()?).env(PONG, &path).spawn()?;
        let (socket, _) = listener.accept()?;
        let name = format!("ping-pong, {REQUEST} and {REPLY} bytes");
        Ok(Contender { name, socket, process, times: Vec::new() })
    }

    fn server(folder: &Path, name: &str, options: &[&str]) -> Result<Self> {
        let path = folder.join(format!("server{}", options.len()));
        let mut process = Command::new(env!("CARGO_BIN_EXE_my-rng-server"))
            .args(["--ready-fd", "1", "--socket-path"])
            .arg(&path)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = process.stdout.take().context("the server's standard output")?;
        ready.read_exact(&mut [0; 1]).context("the server did not become ready")?;
        let mut socket = UnixStream::connect(&path)?;
        negotiate(&mut socket)?;
        Ok(Contender { name: name.into(), socket, process, times: Vec::new() })
    }

    /// Exchanges `count` requests and replies, each timed.
    fn round(&mut self, count: usize) -> Result<()> {
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

    fn percentile(&mut self, percent: usize) -> Duration {
        self.times.sort_unstable();
        self.times[self.times.len() * percent / 100]
    }

    fn mean(&self) -> Duration {
        self.times.iter().sum::<Duration>() / u32::try_from(self.times.len()).unwrap_or(u32::MAX)
    }

    fn resident_kib(&self) -> Result<u64> {
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
fn read_of_random() -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    let header = header(WireCommand::RegionRead, 32);
    let access = RegionAccess { offset: 0, region: 0, count: 4 };
    request[..16].copy_from_slice(header.as_bytes());
    request[16..].copy_from_slice(access.as_bytes());
    request
}

fn header(command: WireCommand, size: u32) -> Header {
    Header { id: 1, command: command as u16, size, flags: 0, error: 0 }
}

fn negotiate(socket: &mut UnixStream) -> Result<()> {
    let version = Version { major: 0, minor: 0 };
    socket.write_all(header(WireCommand::Version, 20).as_bytes())?;
    socket.write_all(version.as_bytes())?;
    let mut head = [0; 16];
    socket.read_exact(&mut head)?;
    let head = Header::read_from_bytes(&head).ok().context("a header")?;
    ensure!(head.error == 0, "the server refused VERSION: errno {}", head.error);
    let mut payload = vec![0; head.size as usize - 16];
    socket.read_exact(&mut payload)?;
    Ok(())
}

/// The other end of the ping-pong, until the socket closes.
fn pong(path: &Path) -> Result<()> {
    let mut socket = UnixStream::connect(path)?;
    let mut request = [0; REQUEST];
    while socket.read_exact(&mut request).is_ok() {
        socket.write_all(&[0; REPLY])?;
    }
    Ok(())
}
