//! Rate limits, as a program in the guest finds them.
//!
//! A limited device gives its bytes at the start of each period and then nothing until the next. So
//! a rate is measured from the start of one period to the start of a later one: then it is that of
//! whole periods. The bytes leave the guest at once, and the time is the host's.

use std::time::Duration;

use lab::{Guest, RunDir};

use super::port::{Arrival, IN_GUEST, Port};
use super::rng::Limit;
use super::{BLOCK, Options, Rng, guest, select};
use crate::{assert_kernel_is_content, say};

/// Never more than this part of the limit, over all that is measured.
const MOST: f64 = 1.02;
/// At least this part of what is possible, over some five periods: a busy machine may hold up the
/// others. Some is missing because the guest's kernel takes a block for itself now and then.
const LEAST: f64 = 0.95;
/// How often a busy machine may hold up all of them, or only the first: then the rest seems to
/// come too fast.
const ATTEMPTS: usize = 3;

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
    let limits: Vec<Option<Limit>> =
        [None].into_iter().chain(limits.iter().copied().map(Some)).collect();
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
        let unlimited = rates(guest, port, UNLIMITED).all;
        select(guest, &format!("virtio_rng.{number}"));
        let Rates { all, best } = rates(guest, port, limit);
        say(&format!(
            "{limit:?}: {all:.0} B/s of {allowed:.0}, at best {best:.0}; {unlimited:.0} without"
        ));
        let least = LEAST * allowed.min(LEAST * unlimited);
        if all <= MOST * allowed && best >= least {
            return;
        }
    }
    panic!("{limit:?}: too much or too little, {ATTEMPTS} times");
}

/// What is measured of a device without a limit.
const UNLIMITED: Limit = limit(50_000, 100);

/// A limit in bytes per second.
fn rate_of(limit: Limit) -> f64 {
    f64::from(limit.bytes) * 1000.0 / f64::from(limit.period)
}

/// Rates in bytes per second.
struct Rates {
    /// Over all periods.
    all: f64,
    /// Over the best five in a row.
    best: f64,
}

/// The rates at which the guest gets bytes from the current device.
fn rates(guest: &mut Guest, port: &mut Port, limit: Limit) -> Rates {
    let period = Duration::from_millis(limit.period.into());
    let periods = whole_periods(period);
    // One read is one write to the port, so small ones for few bytes.
    let block = if rate_of(limit) < 50_000.0 { BLOCK } else { 16 * BLOCK };
    // The first and the last may not be whole.
    let blocks = (periods + 2) * usize::try_from(limit.bytes).expect("it fits") / block;
    guest
        .run(&format!(
            "dd if=/dev/hwrng bs={block} count={blocks} 2>/dev/null >$(echo {IN_GUEST}) &"
        ))
        .expect("the guest starts a reader");
    let arrivals = port.arrivals(blocks * block).expect("its bytes come");
    let all = rate_of_periods(&arrivals, period, 0, periods).expect("bytes come in each period");
    let fives = (0..=periods - FEW).filter_map(|n| rate_of_periods(&arrivals, period, n, FEW));
    Rates { all, best: fives.fold(0.0, f64::max) }
}

/// So many periods are measured at least.
const FEW: usize = 5;

/// How many periods are measured: those of two seconds at least.
fn whole_periods(period: Duration) -> usize {
    let many = Duration::from_secs(2).as_millis().div_ceil(period.as_millis());
    usize::try_from(many).expect("it fits").max(FEW)
}

/// The rate from the start of one of the first periods to the start of one so many later, or to the
/// end if that comes first.
fn rate_of_periods(
    arrivals: &[Arrival],
    period: Duration,
    skipped: usize,
    count: usize,
) -> Option<f64> {
    let periods = |number: usize| period * u32::try_from(number).expect("it fits");
    let from = arrivals[0].time + periods(skipped);
    let start = after_longest_pause(arrivals, from, from + period * 3 / 2)?;
    // At the same phase: what the guest took at other times comes at other times again.
    let later = arrivals[start].time + periods(count);
    let end = after_longest_pause(arrivals, later - period / 4, later + period / 4)
        .unwrap_or(arrivals.len() - 1);
    if end <= start {
        return None;
    }
    // What came before a pause, at both ends.
    let bytes = arrivals[end - 1].bytes - arrivals[start - 1].bytes;
    let time = arrivals[end].time - arrivals[start].time;
    Some(f64::from(u32::try_from(bytes).expect("it fits")) / time.as_secs_f64())
}

/// The arrival that ends the longest pause between two times.
fn after_longest_pause(arrivals: &[Arrival], from: Duration, to: Duration) -> Option<usize> {
    (1..arrivals.len())
        .filter(|at| arrivals[*at].time >= from && arrivals[*at].time <= to)
        .max_by_key(|at| arrivals[*at].time - arrivals[*at - 1].time)
}

/// Arrivals of 100 bytes at these milliseconds of each of seven seconds.
fn seven_seconds(parts: &[u64]) -> Vec<Arrival> {
    (0..7)
        .flat_map(|second| parts.iter().map(move |part| 1000 * second + part))
        .zip(1..)
        .map(|(time, count)| Arrival { time: Duration::from_millis(time), bytes: 100 * count })
        .collect()
}

#[test]
fn whole_periods_are_counted() {
    for parts in [&[0, 1, 2, 3, 4, 5, 6, 7][..], &[0, 1, 2, 3, 4, 5, 6, 500], &[400, 900, 901]] {
        let rate = rate_of_periods(&seven_seconds(parts), Duration::from_secs(1), 0, 5)
            .expect("they are there");
        let right = f64::from(u32::try_from(100 * parts.len()).expect("it fits"));
        assert!((rate - right).abs() < 1.0, "{rate} of {right} from {parts:?}");
    }
}

#[test]
fn too_much_is_counted_too() {
    let twice = [0, 1, 2, 3, 500, 501, 502, 503];
    let rate = rate_of_periods(&seven_seconds(&twice), Duration::from_secs(2), 0, 5)
        .expect("they are there");
    assert!(rate > 1.9 * 400.0, "{rate}");
}
