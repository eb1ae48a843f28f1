//! Timed register reads of two contenders in alternating rounds.

use std::time::Duration;

use anyhow::Result;

use crate::guest::Guest;

/// Reads in a round.
const ROUND: usize = 1000;
/// Rounds of each contender, which take turns: figures of different times cannot be compared on a
/// machine that has other things to do.
pub const ROUNDS: usize = 42;
/// Rounds before the first that counts.
const WARM_UP: usize = 2;

/// The times of one contender's reads.
#[derive(Default)]
pub struct Reads {
    times: Vec<Duration>,
    rounds: usize,
}

impl Reads {
    /// One more round.
    pub fn round(&mut self, guest: &mut Guest) -> Result<()> {
        guest.read_register(&mut self.times, ROUND)?;
        self.rounds += 1;
        if self.rounds == WARM_UP {
            self.times.clear();
        }
        Ok(())
    }

    /// In microseconds.
    fn percentile(&mut self, percent: usize) -> f64 {
        self.times.sort_unstable();
        self.times[self.times.len() * percent / 100].as_secs_f64() * 1e6
    }
}

/// The heading of a table of [`report`]s.
pub fn title(what: &str) {
    println!("\na busy guest's register reads, {what}");
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>9}  ratio  server's processor",
        "beside", "alone p50", "p99 us", "with p50", "p99 us"
    );
    println!("{:>68}  of p50  time for that", "");
}

/// Prints both; returns the ratio of the medians, the second one's to the first one's.
pub fn report(name: &str, first: &mut Reads, second: &mut Reads, note: &str) -> f64 {
    let (p50, p99) = (first.percentile(50), first.percentile(99));
    let (with_p50, with_p99) = (second.percentile(50), second.percentile(99));
    let ratio = with_p50 / p50;
    println!(
        "{name:<28} {p50:>9.2} {p99:>9.2} {with_p50:>9.2} {with_p99:>9.2} {ratio:>6.2} {note}"
    );
    ratio
}
