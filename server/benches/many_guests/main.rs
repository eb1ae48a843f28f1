//! What a thousand guests of one server cost, and what they cost each other.
//!
//! - Memory and processor time: a server with a socket for each of 1,000 guests, all of them
//!   connected and idle, next to one with a single guest. A guest is a client that does what QEMU
//!   does at its start. Memory is the resident memory of the server's process; what the kernel has
//!   for a thread and a socket is not in it.
//! - Reads: a busy guest's register reads with 1,000 idle guests beside it, next to those of the
//!   single guest of another server, in alternating rounds on one processor: waking another one up
//!   takes several times as long as a read on some machines, in some rounds and not in others.
//! - Neighbours: a busy guest's register reads while another guest of the same server misbehaves,
//!   next to those while that one is stopped (SIGSTOP), in alternating rounds. Here the busy guest
//!   and its session have a processor, and the misbehaving guest and everything that the server does
//!   for it have another one: what is compared is what gets from one guest to the other inside of
//!   the server. How a processor is shared when all of them want it is the kernel's to decide. What
//!   comes of that is shown in the second table, where everything is on one processor, together with
//!   a neighbour that has nothing to do with the server and only spins; the second table is not
//!   checked.
//!
//! `./scripts/bench.sh many` runs it. With `--check RATIO` it fails when an idle guest takes 40 KiB
//! or any processor time, or the median of the reads of a busy guest is larger by more than RATIO
//! for its neighbours' sake.

#[path = "../check/mod.rs"]
mod check;
mod guest;
mod host;
mod neighbour;
mod reads;

use std::cmp::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::sched_getaffinity;

use guest::{Belongings, Guest};
use host::{Host, keep_to};
use neighbour::{Misbehaviour, Neighbour};
use reads::Reads;

/// Idle guests.
const GUESTS: usize = 1000;
/// Most KiB that one of them may take.
const MAX_KIB: f64 = 40.0;
/// How long they are watched for being idle.
const IDLE: Duration = Duration::from_secs(3);
/// How long a neighbour takes to be at it again.
const AT_IT: Duration = Duration::from_millis(5);
/// How long a neighbour's processor time is measured.
const WATCHED: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    if neighbour::misbehave_if_told()? {
        return Ok(());
    }
    let limit = check::limit()?;
    // For this process's ends of the sockets.
    let descriptors = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: descriptors.maximum, ..descriptors })?;
    for device in ["my-rng", "virtio-rng"] {
        idle(device, limit.is_some())?;
    }
    let processors = processors()?;
    keep_to(None, processors[0])?;
    reads::title("on one processor");
    let idle_ones = "a register read beside 1,000 idle guests";
    check::checked(limit, Ordering::Greater, idle_ones, beside_idle_ones)?;
    let [busy, other, ..] = processors[..] else {
        println!("\nSKIPPED: neighbours, which need a second processor");
        return Ok(());
    };
    reads::title("its neighbour on another processor");
    for neighbour in neighbour::ALL {
        let what = format!("a register read beside one that {}", neighbour.name);
        check::checked(limit, Ordering::Greater, &what, || beside(neighbour, busy, other))?;
    }
    reads::title("everything on one processor (not checked)");
    for neighbour in neighbour::ALL.iter().chain([&neighbour::SPINNING]) {
        beside(neighbour, busy, busy)?;
    }
    Ok(())
}

/// The processors that this process may run on.
fn processors() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|number| set.is_set(*number)).collect())
}

/// Memory and processor time of idle guests.
fn idle(device: &str, check: bool) -> Result<()> {
    let belongings = Belongings::new()?;
    let one = Host::start(device, 1)?;
    let _guest = Guest::start(&one.socket(0), &belongings)?;
    let many = Host::start(device, GUESTS)?;
    let listening = many.resident_kib()?;
    let _guests = guests(&many, GUESTS, &belongings)?;
    let (first, all) = (one.resident_kib()?, many.resident_kib()?);
    let each = |kib: u64| kib.saturating_sub(first) as f64 / (GUESTS - 1) as f64;
    println!(
        "{device}: {all} KiB resident with {GUESTS} idle guests, {first} KiB with one: {:.1} KiB for \
         each, of which {:.1} KiB before it connects",
        each(all),
        each(listening)
    );
    let before = many.processor_time()?;
    thread::sleep(IDLE);
    let spent = many.processor_time()? - before;
    println!("{device}: {spent:?} of processor time in {IDLE:?} of idleness");
    if check {
        ensure!(each(all) < MAX_KIB, "an idle guest takes {MAX_KIB} KiB at most");
        ensure!(spent < IDLE / 1000, "idle guests take processor time");
    }
    Ok(())
}

fn guests(host: &Host, count: usize, belongings: &Belongings) -> Result<Vec<Guest>> {
    (0..count).map(|number| Guest::start(&host.socket(number), belongings)).collect()
}

/// Reads of a busy guest beside idle ones, next to those of a single guest. Returns the ratio.
fn beside_idle_ones() -> Result<f64> {
    let belongings = Belongings::new()?;
    let one = Host::start("my-rng", 1)?;
    let mut alone = Guest::start(&one.socket(0), &belongings)?;
    let many = Host::start("my-rng", GUESTS + 1)?;
    let _idle = guests(&many, GUESTS, &belongings)?;
    let mut busy = Guest::start(&many.socket(GUESTS), &belongings)?;
    let (mut first, mut second) = (Reads::default(), Reads::default());
    for _ in 0..reads::ROUNDS {
        first.round(&mut alone)?;
        second.round(&mut busy)?;
    }
    Ok(reads::report("1,000 idle guests", &mut first, &mut second, ""))
}

/// Reads of a busy guest beside a misbehaving one, next to those while that one is stopped. Returns
/// the ratio.
fn beside(misbehaviour: &Misbehaviour, processor: usize, other: usize) -> Result<f64> {
    let belongings = Belongings::new()?;
    let host = Host::start("my-rng", 2)?;
    let reception = host.threads()?;
    let mut busy = Guest::start(&host.socket(0), &belongings)?;
    host.keep_threads_to(&host.threads()?, processor)?;
    // The sessions of later clients inherit this.
    host.keep_threads_to(&reception, other)?;
    let neighbour = Neighbour::start(misbehaviour, &host.socket(1))?;
    neighbour.keep_to(other)?;
    let (mut alone, mut beside) = (Reads::default(), Reads::default());
    for _ in 0..reads::ROUNDS {
        alone.round(&mut busy)?;
        neighbour.let_go()?;
        thread::sleep(AT_IT);
        beside.round(&mut busy)?;
        neighbour.hold()?;
    }
    neighbour.let_go()?;
    let before = host.processor_time_of_all()?;
    thread::sleep(WATCHED);
    let spent = (host.processor_time_of_all()? - before).as_secs_f64() / WATCHED.as_secs_f64();
    let note = format!("{:>6.0} %", spent * 100.0);
    Ok(reads::report(misbehaviour.name, &mut alone, &mut beside, &note))
}
