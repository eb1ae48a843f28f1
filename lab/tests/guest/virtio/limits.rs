//! Rate limits, as a program in the guest finds them.
//!
//! That a limit holds in every stretch of a period's length, and is used to its last byte, is proven
//! on a clock of the tests' own (`entropy::linux_tests`). Here a real driver waits for real periods. The
//! bytes leave the guest at once, and the time is the host's. A busy machine can only hold bytes up:
//! so they may not be too many for all of the time since the reader was started, and there have to
//! be enough in the best few periods, next to what the machine does without a limit.

use std::time::{Duration, Instant};

use lab::{Guest, RunDir};

use super::port::{Arrival, IN_GUEST, Port};
use super::rng::{Limit, chosen_hangs_with};
use super::{BLOCK, Options, Rng, guest, select};
use crate::{assert_kernel_is_content, say};

/// At least this part of what is possible comes in the best few periods.
const LEAST: f64 = 0.7;
/// How much slower than before the machine may become while the limit is measured.
const SLOWER: f64 = 0.5;
/// How often a busy machine may hold up all of the periods.
const ATTEMPTS: usize = 3;
/// So many periods are measured together.
const FEW: u32 = 5;
/// What the driver and the hwrng core may have from before the reader started.
const BEFORE: usize = 2 * BLOCK;

const fn limit(bytes: u32, period: u32) -> Limit {
    Limit { bytes, period }
}

#[test]
fn limits_of_seconds_are_kept_and_used() {
    // The lowest last: the longer the guest runs, the fewer blocks its kernel takes.
    measure("virtio-slow-limits", &[limit(5000, 2000), limit(1024, 1000), limit(512, 1000)]);
}

#[test]
fn limits_of_milliseconds_are_kept_and_used() {
    let tenths = [1000, 10_000, 65_536, 100_000].map(|bytes| limit(bytes, 100));
    measure("virtio-fast-limits", &[&tenths[..], &[limit(5000, 10)]].concat());
}

#[test]
#[ignore = "takes six minutes; scripts/soak.sh runs it"]
fn a_limit_of_a_minute_is_kept_and_used() {
    measure("virtio-minute-limit", &[limit(1 << 20, 60_000)]);
}

fn measure(name: &str, limits: &[Limit]) {
    let run = RunDir::create(name).expect("a run can be made");
    let limits = limits.iter().copied().filter(|limit| !chosen_hangs_with(*limit)).map(Some);
    let limits: Vec<Option<Limit>> = [None].into_iter().chain(limits).collect();
    let rngs: Vec<Rng> = limits
        .iter()
        .enumerate()
        .map(|(number, limit)| {
            let options = Options { limit: *limit, ..Options::default() };
            Rng::start(&run, &format!("rng{number}"), &options).expect("the device can be made")
        })
        .collect();
    let mut port = Port::open(&run).expect("a port can be made");
    say("booting a guest with a device for each limit");
    let with_rngs = rngs.iter().fold(guest(&run), |guest, rng| rng.attach(guest));
    let mut guest = port.attach(with_rngs).boot().expect("the guest boots");
    for (number, limit) in limits.iter().enumerate() {
        let Some(limit) = limit else { continue };
        assert_kept_and_used(&mut guest, &mut port, *limit, number);
    }
    assert_kernel_is_content(&mut guest);
}

/// Checks the device of a number, next to the one without a limit.
fn assert_kept_and_used(guest: &mut Guest, port: &mut Port, limit: Limit, number: usize) {
    let allowed = rate_of(limit);
    for _ in 0..ATTEMPTS {
        select(guest, "virtio_rng.0");
        let unlimited = measure_one(guest, port, UNLIMITED);
        select(guest, &format!("virtio_rng.{number}"));
        let measured = measure_one(guest, port, limit);
        let most = most_in_all(limit, measured.time);
        say(&format!(
            "{limit:?}: {} bytes of {most} in {:?}, at best {:.0} B/s of {allowed:.0}; {:.0} without",
            measured.bytes, measured.time, measured.best, unlimited.best
        ));
        assert!(measured.bytes <= most, "{limit:?}: more than the limit");
        if measured.best >= LEAST * allowed.min(SLOWER * unlimited.best) {
            return;
        }
    }
    panic!("{limit:?}: too little, {ATTEMPTS} times");
}

/// What is measured of a device without a limit.
const UNLIMITED: Limit = limit(50_000, 100);

/// A limit in bytes per second.
fn rate_of(limit: Limit) -> f64 {
    f64::from(limit.bytes) * 1000.0 / f64::from(limit.period)
}

/// What a reader got.
struct Measured {
    bytes: usize,
    /// Since before it was started.
    time: Duration,
    /// The rate in the best few periods, in bytes per second.
    best: f64,
}

/// Reads from the current device as much as the limit gives in some periods.
fn measure_one(guest: &mut Guest, port: &mut Port, limit: Limit) -> Measured {
    let period = Duration::from_millis(limit.period.into());
    // One read is one write to the port, so small ones for few bytes.
    let block = if rate_of(limit) < 50_000.0 { BLOCK } else { 16 * BLOCK };
    let bytes = usize::try_from(limit.bytes).expect("it fits");
    let blocks = (periods(period) + 1) * bytes / block;
    let begun = Instant::now();
    guest
        .run(&format!(
            "dd if=/dev/hwrng bs={block} count={blocks} 2>/dev/null >$(echo {IN_GUEST}) &"
        ))
        .expect("the guest starts a reader");
    let arrivals = port.arrivals(blocks * block).expect("its bytes come");
    let few = FEW * period;
    let best = f64::from(u32::try_from(most_within(&arrivals, few)).expect("it fits"));
    Measured { bytes: blocks * block, time: begun.elapsed(), best: best / few.as_secs_f64() }
}

/// How many periods are measured: those of two seconds at least.
fn periods(period: Duration) -> usize {
    let many = Duration::from_secs(2).as_millis().div_ceil(period.as_millis());
    usize::try_from(many.max(FEW.into())).expect("it fits")
}

/// The most bytes that a limit gives in so much time: the periods that it touches have all of theirs.
fn most_in_all(limit: Limit, time: Duration) -> usize {
    let touched = time.as_millis() / u128::from(limit.period) + 1;
    let bytes = touched * u128::from(limit.bytes);
    usize::try_from(bytes).expect("it fits") + BEFORE
}

/// The most bytes that arrived within such a stretch of time.
fn most_within(arrivals: &[Arrival], stretch: Duration) -> usize {
    let before = |first: usize| first.checked_sub(1).map_or(0, |before| arrivals[before].bytes);
    let mut first = 0;
    let counts = arrivals.iter().map(|last| {
        while last.time - arrivals[first].time >= stretch {
            first += 1;
        }
        last.bytes - before(first)
    });
    counts.max().unwrap_or(0)
}

#[test]
fn the_best_stretch_is_found() {
    let arrival = |(time, bytes)| Arrival { time: Duration::from_millis(time), bytes };
    let arrivals =
        [(0, 10), (900, 20), (1000, 60), (1899, 70), (1900, 80), (5000, 90)].map(arrival);
    assert_eq!(most_within(&arrivals, Duration::from_secs(1)), 60, "from 900 to 1899");
    assert_eq!(most_within(&arrivals, Duration::from_millis(1001)), 70, "to 1900");
    assert_eq!(most_within(&[], Duration::from_secs(1)), 0);
}

#[test]
fn twice_the_limit_is_too_much() {
    let limit = limit(1000, 100);
    let time = Duration::from_millis(2050);
    assert!(most_in_all(limit, time) >= 21_000, "twenty-one periods may have given all");
    assert!(most_in_all(limit, time) < 2 * 20_000);
}
