//! What a decision about shared bandwidth costs, with few classes and with many.
//!
//! A decision is whose turn it is, and the account of what it got. Its cost may hardly depend on how
//! many guests there are: each of them would pay for all others. It is that of a few searches in
//! sorted sets, and of the memory that they touch. `./scripts/bench.sh bandwidth` runs
//! it; `--check RATIO` makes it fail when a decision among the most classes costs more than that
//! times one among the fewest.

#[path = "../../../server/benches/check/mod.rs"]
mod check;

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use entropy::bandwidth::{AdmissionError, Bandwidth, ClassId, Next, Tree};
use rustix::time::{ClockId, clock_gettime};

/// How many classes.
const SIZES: [u16; 4] = [10, 100, 1_000, 10_000];
/// Decisions of a round.
const DECISIONS: u32 = 10_000;
/// Rounds of each size.
const ROUNDS: usize = 41;
/// What the source makes, bytes per second.
const CAPACITY: u64 = 64 << 20;
/// Leaves of a group.
const GROUP: u16 = 10;

fn main() -> Result<()> {
    let what = format!(
        "a decision among {} classes in terms of one among {}",
        SIZES[SIZES.len() - 1],
        SIZES[0]
    );
    check::checked(check::limit()?, Ordering::Greater, &what, measure)
}

/// Measures and reports all sizes; returns what the largest costs in terms of the smallest.
fn measure() -> Result<f64> {
    println!("{DECISIONS} decisions in {ROUNDS} alternating rounds, medians");
    let mut sources = SIZES.map(Source::new).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut times = vec![Vec::new(); SIZES.len()];
    for _ in 0..ROUNDS {
        for (source, times) in sources.iter_mut().zip(&mut times) {
            times.push(source.round()?);
        }
    }
    let costs: Vec<_> = times.into_iter().map(|times| median(times) / DECISIONS).collect();
    for (size, cost) in SIZES.iter().zip(&costs) {
        println!("{size:>6} classes {:>6} ns", cost.as_nanos());
    }
    let ratio = costs[SIZES.len() - 1].as_secs_f64() / costs[0].as_secs_f64();
    println!("ratio {ratio:.2}");
    Ok(ratio)
}

/// What this thread has had of a processor: nothing here waits, so that others do not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A source whose leaves all want more: a third of them have a floor, a third a ceiling.
struct Source {
    tree: Tree,
    now: Instant,
}

impl Source {
    fn new(classes: u16) -> Result<Self, AdmissionError> {
        let now = Instant::now();
        let root = ClassId(0);
        let mut tree = Tree::new(root, "source", Bandwidth::capacity(CAPACITY), now)?;
        let fair = CAPACITY / u64::from(classes);
        let mut group = root;
        for id in (1..classes).map(ClassId) {
            let name = format!("class {id}");
            if id.0 % GROUP == 1 {
                group = id;
                let floor = fair * u64::from(GROUP) / 2;
                let bandwidth = Bandwidth { floor: Some(floor), ..Bandwidth::default() };
                tree.add(root, group, &name, bandwidth, now)?;
                continue;
            }
            let bandwidth = match id.0 % 3 {
                0 => Bandwidth { floor: Some(fair), ..Bandwidth::default() },
                1 => Bandwidth { peak: Some(fair), ..Bandwidth::default() },
                _ => Bandwidth::default(),
            };
            tree.add(group, id, &name, bandwidth, now)?;
            tree.request(id, u64::MAX, now);
        }
        Ok(Source { tree, now })
    }

    /// Makes decisions; returns the time they took.
    fn round(&mut self) -> Result<Duration> {
        let start = processor_time();
        let mut decisions = 0;
        while decisions < DECISIONS {
            match self.tree.next(self.now) {
                Next::Grant { class, bytes } => {
                    self.tree.charge(class, bytes, self.now);
                    decisions += 1;
                }
                Next::From(instant) => self.now = instant,
                Next::Idle => bail!("each class wants something"),
            }
        }
        Ok(processor_time().saturating_sub(start))
    }
}
