//! What a register read costs, next to the least that it could cost.
//!
//! The floor is a ping-pong of 32 and 36 bytes, the sizes of a 4-byte REGION_READ and its reply,
//! over the same kind of socket between two processes that do nothing else. Both are measured in
//! one run, in alternating rounds, because figures of different runs cannot be compared on a
//! machine that parks its processors. `./scripts/bench.sh` runs it; `--check RATIO` makes it fail
//! when the ratio of the medians is larger. It then keeps to one processor: waking another one up
//! takes several times as long as a read on some machines, in some rounds and not in others, and
//! would be all that is compared. An earlier build of the server takes part when [`EARLIER`] names
//! its program.

mod check;
mod contender;

use std::cmp::Ordering;
use std::env;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use contender::{Contender, PONG, keep_to_one_processor, pong};

/// Reads in a round.
const ROUND: usize = 2_000;
/// Rounds of each contender.
const ROUNDS: usize = 30;
/// Exchanges before the first round.
const WARM_UP: usize = 2_000;
/// The environment variable with an earlier build of the server.
const EARLIER: &str = "EARLIER_SERVER";
/// Microseconds of busy polling that are shown.
const BUSY_POLL_US: &str = "50";

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

/// Measures and reports all contenders; returns the ratio of a register read to a ping-pong.
fn measure() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let start = |name, options: &[&str]| Contender::server(folder.path(), name, options);
    let mut contenders = vec![
        Contender::ping_pong(folder.path())?,
        start("REGION_READ", &[])?,
        start("REGION_READ, --sandbox off", &["--sandbox", "off"])?,
        start("REGION_READ, --busy-poll-us 50", &["--busy-poll-us", BUSY_POLL_US])?,
    ];
    if let Some(program) = env::var_os(EARLIER) {
        let name = "REGION_READ, an earlier build";
        contenders.push(Contender::program(Path::new(&program), folder.path(), name, &[])?);
    }
    for contender in &mut contenders {
        contender.round(WARM_UP)?;
        contender.times.clear();
    }
    for round in 0..ROUNDS {
        for contender in &mut contenders {
            contender.round(ROUND)?;
        }
        if std::io::stderr().is_terminal() {
            let end = if round + 1 < ROUNDS { "" } else { "\n" };
            eprint!("\rround {}/{ROUNDS}{end}", round + 1);
        }
    }
    println!("4-byte register read, {} of each, alternating rounds of {ROUND}", ROUND * ROUNDS);
    println!("{:<34} {:>9} {:>9} {:>9}  ratio of p50", "", "p50 us", "p99 us", "mean us");
    let floor = contenders[0].percentile(50).as_secs_f64();
    for contender in &mut contenders {
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
    for contender in &contenders[1..] {
        println!(
            "{}: {} KiB resident with one idle client",
            contender.name,
            contender.resident_kib()?
        );
    }
    Ok(contenders[1].percentile(50).as_secs_f64() / floor)
}
