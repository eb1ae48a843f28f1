//! What a register read costs a device in C, next to the same device in Rust.
//!
//! All of them give the C library's numbers. They are measured in one run, in alternating rounds, by
//! a client that does nothing else. `./scripts/bench.sh c` runs it; `--check RATIO` makes it fail when
//! the kit in C takes more than that of the time of the kit in Rust. It then keeps to one processor,
//! as the benchmark of a register read does.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lab::c_device::{self, CDevice};
use lab::{RunDir, Server, paths};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use vfio_user_client::Connection;
use vfio_user_client::message::{REGION_READ, VERSION, access, message, version};

/// Bytes of the reply to a 4-byte REGION_READ.
const REPLY: usize = 36;
/// Reads in a round.
const ROUND: usize = 1_000;
/// Rounds of each contender.
const ROUNDS: usize = 60;
/// How often `--check` measures before it gives up: another process may have had the processor.
const ATTEMPTS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Parser)]
struct Options {
    /// Fail when a read of the kit in C takes more than this share of one of the kit in Rust.
    #[arg(long, value_name = "RATIO")]
    check: Option<f64>,

    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let run = RunDir::create("c-device")?;
    if options.check.is_some() {
        let mut processors = CpuSet::new();
        processors.set(sched_getcpu());
        sched_setaffinity(None, &processors).context("cannot keep to one processor")?;
    }
    let rust = Server::start(&run, "rust", &["--generator", "glibc"])?;
    let kit = Server::start_program(&run, "kit", &build_skeleton(&run)?, &[])?;
    let student = "checker/submissions/devices/c-correct-global-rand/my-rng.c";
    let student = |sanitize| {
        let name = if sanitize { "sanitized" } else { "plain" };
        let source = paths::checkout().join(student);
        let program = CDevice::new(&source, &run.path().join(name), sanitize).build()?;
        Server::start_program(&run, name, &program, &[])
    };
    let (plain, sanitized) = (student(false)?, student(true)?);
    let mut contenders = [
        Contender::new(&run, &rust, "the device in Rust")?,
        Contender::new(&run, &kit, "the device kit in C")?,
        Contender::new(&run, &plain, "QEMU's API, --no-sanitize")?,
        Contender::new(&run, &sanitized, "QEMU's API")?,
    ];
    for attempt in 1..=ATTEMPTS {
        let ratio = measure(&mut contenders)?;
        match options.check {
            Some(most) if ratio > most => ensure!(attempt < ATTEMPTS, "{ratio:.3} is over {most}"),
            _ => break,
        }
    }
    Ok(())
}

/// The teaching device on the kit's own header.
fn build_skeleton(run: &RunDir) -> Result<PathBuf> {
    let kit = paths::checkout().join("crates/vfio-user-device-c");
    let program = run.path().join("skeleton");
    let [_, library] = c_device::libraries()?;
    let mut compiler = Command::new("cc");
    compiler.args(["-D_GNU_SOURCE", "-O2", "-I"]).arg(kit.join("include"));
    compiler.arg(kit.join("examples/skeleton.c")).arg(library).args(["-lpthread", "-ldl", "-lm"]);
    let status = compiler.arg("-o").arg(&program).status().context("cannot run cc")?;
    ensure!(status.success(), "compiling the skeleton ended with {status}");
    Ok(program)
}

/// Measures and reports all contenders; returns the ratio of the second to the first.
fn measure(contenders: &mut [Contender]) -> Result<f64> {
    for contender in &mut *contenders {
        contender.round()?;
        contender.times.clear();
    }
    for _ in 0..ROUNDS {
        for contender in &mut *contenders {
            contender.round()?;
        }
    }
    println!("4-byte register read, {} of each, alternating rounds of {ROUND}", ROUND * ROUNDS);
    let medians: Vec<f64> = contenders.iter_mut().map(Contender::median).collect();
    for (contender, median) in contenders.iter().zip(&medians) {
        let ratio = median / medians[0];
        println!("  {:<28} {:>8.2} us  {ratio:.3} of Rust's", contender.name, median * 1e6);
    }
    Ok(medians[1] / medians[0])
}

/// A device, and a connection to it.
struct Contender {
    name: &'static str,
    socket: UnixStream,
    times: Vec<Duration>,
}

impl Contender {
    fn new(run: &RunDir, server: &Server<'_>, name: &'static str) -> Result<Self> {
        let socket = run.short(&format!("{}.sock", server.name()));
        let socket = negotiated(&socket).with_context(|| name.to_owned())?;
        Ok(Contender { name, socket, times: Vec::new() })
    }

    fn round(&mut self) -> Result<()> {
        let request = message(1, REGION_READ, &access(0, 0, 4));
        let mut reply = [0; REPLY];
        for _ in 0..ROUND {
            let start = Instant::now();
            self.socket.write_all(&request)?;
            self.socket.read_exact(&mut reply)?;
            self.times.push(start.elapsed());
        }
        Ok(())
    }

    /// In seconds.
    fn median(&mut self) -> f64 {
        self.times.sort_unstable();
        self.times[self.times.len() / 2].as_secs_f64()
    }
}

fn negotiated(socket: &Path) -> Result<UnixStream> {
    let mut connection = Connection::connect(socket, TIMEOUT)?;
    let reply = connection.request(VERSION, &version(0, 0, &[]), &[])?;
    ensure!(reply.header.error == 0, "VERSION was refused: errno {}", reply.header.error);
    Ok(connection.into_socket().into())
}
