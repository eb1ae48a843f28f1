//! What random bytes cost a guest, next to what they cost it with other devices.
//!
//! | | the device | how bytes get into guest memory |
//! | --- | --- | --- |
//! | a | `my-rng-server --device virtio-rng` | it is shared with the server |
//! | b | the same | by messages to QEMU |
//! | c | QEMU's own `virtio-rng-pci`, `rng-builtin` behind it | it is QEMU's |
//! | d | `vhost-user-rng-pci`, `vhost-device-rng` behind it | it is shared with that server |
//! | e | d, with an MSI-X vector for its queue, as the others have | as d |
//! | f | `vhost-user-rng-pci`, `my-rng-server --transport vhost-user` behind it | as d |
//! | g | f, with that vector | as d |
//!
//! The guest's kernel has one driver for them all, which asks for 64 bytes at a time. One guest has
//! them all but b, which a second guest has, whose memory is not shared. They take turns, in one run,
//! because figures of different runs cannot be compared; a ratio is the median of those of all
//! rounds. `./scripts/bench.sh guest` runs it; `--check RATIO` makes it fail when a or f has less
//! than that of d's throughput.

mod cost;
mod rivals;
mod round;

use std::env;

use anyhow::{Context, Result, bail};
use lab::{Guest, RunDir, Server, progress};

use cost::SystemCalls;
use rivals::VhostDeviceRng;
use round::{Contender, Measurement};

/// Requests in a round: each by a read of its own, and then as many by one read.
const ROUND: usize = 1_000;
/// Rounds of each contender.
const ROUNDS: usize = 45;
/// How often `--check` measures before it gives up: another process may have had the processor.
const ATTEMPTS: usize = 3;

fn main() -> Result<()> {
    let limit = limit(env::args())?;
    let run = RunDir::create("bench")?;
    let device = ["--device", "virtio-rng"];
    let (a, b) = (Server::start(&run, "a", &device)?, Server::start(&run, "b", &device)?);
    let vhost = VhostDeviceRng::start(&run)?;
    let ours = Server::start(&run, "f", &["--transport", "vhost-user", "--socket-count", "2"])?;

    let wait = progress::Wait::new("booting two guests");
    let shared = rivals::inside_qemu(Guest::builder(&run).name("shared").attach(&a));
    let shared = rivals::over_vhost_user(vhost.attach(shared), "f.sock").boot()?;
    let private = Guest::builder(&run).name("private").private_memory().attach(&b).boot()?;
    let mut guests = [shared, private];
    wait.done("two guests are up");

    // The guest counts its devices in the order in which QEMU was told of them.
    let contender = |name, (guest, device), process| Contender::new(name, guest, device, process);
    let mut contenders = [
        contender("a: my-rng-server, shared memory", (0, 0), Some(a.pid())),
        contender("b: my-rng-server, by messages", (1, 0), Some(b.pid())),
        contender("c: QEMU's own", (0, 1), None),
        contender("d: vhost-device-rng", (0, 2), Some(vhost.pid())),
        contender("e: d with vectors=2", (0, 3), Some(vhost.pid())),
        contender("f: my-rng-server, vhost-user", (0, 4), Some(ours.pid())),
        contender("g: f with vectors=2", (0, 5), Some(ours.pid())),
    ];
    for attempt in 1..=ATTEMPTS {
        let ratio = measure(&mut guests, &mut contenders)?;
        match limit {
            Some(limit) if ratio < limit && attempt == ATTEMPTS => bail!(
                "the throughput is {ratio:.2} of vhost-device-rng's in each of {ATTEMPTS} attempts, \
                 {limit} at least"
            ),
            Some(limit) if ratio < limit => println!("under {limit}: measuring again"),
            _ => break,
        }
    }
    report_system_calls(&mut guests, &contenders)
}

/// What `--check RATIO` asks for.
fn limit(mut arguments: impl Iterator<Item = String>) -> Result<Option<f64>> {
    if !arguments.any(|argument| argument == "--check") {
        return Ok(None);
    }
    let ratio = arguments.next().context("--check: which ratio?")?;
    Ok(Some(ratio.parse().with_context(|| format!("--check {ratio}"))?))
}

/// Measures and reports all contenders; returns the ratio of a's throughput to d's, or of f's if that
/// is less. It is steadier than that of the medians: where the system runs whom makes for fast requests and slow ones, with
/// nothing between, and a median jumps from those to these.
fn measure(guests: &mut [Guest<'_>], contenders: &mut [Contender; 7]) -> Result<f64> {
    for contender in contenders.iter_mut() {
        contender.warm_up(guests, ROUND)?;
    }
    let mut wait = progress::Wait::new("measuring");
    for number in 0..ROUNDS {
        // Each of them is the first in its turn.
        for turn in 0..contenders.len() {
            wait.tick();
            contenders[(number + turn) % contenders.len()].round(guests, ROUND)?;
        }
    }
    wait.done("measured");

    println!("64-byte requests of a guest's /dev/hwrng, {ROUNDS} alternating rounds of {ROUND}");
    println!(
        "{:<32} {:>7} {:>7} {:>7} {:>7}   server, each request",
        "medians of all rounds", "KiB/s", "p50 us", "p90 us", "mean us"
    );
    for contender in contenders.iter() {
        let median = |figure: fn(&Measurement) -> f64| contender.median(figure);
        let used = match contender.process {
            Some(_) => format!(
                "{:.1} us busy, {:.2} sleeps",
                median(|round| round.busy),
                median(|round| round.sleeps)
            ),
            None => "-".to_owned(),
        };
        println!(
            "{:<32} {:>7.0} {:>7.1} {:>7.1} {:>7.1}   {used}",
            contender.name,
            median(|round| round.kib_per_s),
            median(|round| round.p50),
            median(|round| round.p90),
            median(|round| round.mean),
        );
    }
    let [a, b, c, d, e, f, g] = &*contenders;
    println!("ratios of speed, of the same columns");
    let pairs = [
        ("a/d", a, d),
        ("a/e", a, e),
        ("a/c", a, c),
        ("b/a", b, a),
        ("f/d", f, d),
        ("g/e", g, e),
        ("g/a", g, a),
    ];
    for (name, one, other) in pairs {
        // Of a time, less is more.
        println!(
            "{name:<32} {:>7.2} {:>7.2} {:>7.2} {:>7.2}",
            one.ratio(other, |round| round.kib_per_s),
            other.ratio(one, |round| round.p50),
            other.ratio(one, |round| round.p90),
            other.ratio(one, |round| round.mean),
        );
    }
    let speed = |one: &Contender| one.ratio(d, |round| round.kib_per_s);
    Ok(speed(a).min(speed(f)))
}

/// Says which system calls a request costs its server. Strace slows it down, so that one that looks
/// for a next request after its interrupt finds it, and is not woken for each.
fn report_system_calls(guests: &mut [Guest<'_>], contenders: &[Contender]) -> Result<()> {
    println!("system calls of the server for each request, slowed down by strace");
    for contender in contenders {
        let Some(process) = contender.process else { continue };
        let calls = SystemCalls::count(process, || contender.serve(guests, ROUND))?;
        println!("{:<32} {calls}", contender.name);
    }
    Ok(())
}
