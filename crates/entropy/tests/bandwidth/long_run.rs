//! What only shows after a long time, or when the source is not what it should be.

use std::time::Duration;

use entropy::bandwidth::simulator::{Load, Simulator};
use entropy::bandwidth::{Bandwidth, ClassId};

const ROOT: ClassId = ClassId(0);
const A: ClassId = ClassId(1);
const B: ClassId = ClassId(2);
const C: ClassId = ClassId(3);
const KIB: u64 = 1 << 10;
const YEAR: u64 = 365 * 24 * 3600;
const GREEDY: Load = Load::Greedy { request: 64 };

fn floor(bytes: u64) -> Bandwidth {
    Bandwidth { floor: Some(bytes), ..Bandwidth::default() }
}

fn peak(bytes: u64) -> Bandwidth {
    Bandwidth { peak: Some(bytes), ..Bandwidth::default() }
}

fn average(bytes: u64) -> Bandwidth {
    Bandwidth { average: Some(bytes), ..peak(64 * KIB) }
}

fn source(capacity: u64) -> Simulator {
    Simulator::new(ROOT, Bandwidth::capacity(capacity)).expect("a source")
}

/// What each of three leaves got in the next seconds.
fn run(simulator: &mut Simulator, seconds: u64) -> [u64; 3] {
    let given = |simulator: &Simulator| {
        [A, B, C].map(|id| simulator.tree().usage(id).map_or(0, |usage| usage.given))
    };
    let before = given(simulator);
    simulator.run(Duration::from_secs(seconds));
    let after = given(simulator);
    [0, 1, 2].map(|leaf| after[leaf] - before[leaf])
}

#[test]
fn nothing_drifts_in_a_year() {
    let mut simulator = source(3);
    simulator.add(ROOT, A, floor(1), GREEDY).expect("it fits");
    simulator.add(ROOT, B, Bandwidth { burst: Some(256), ..peak(1) }, GREEDY).expect("it fits");
    simulator.add(ROOT, C, Bandwidth { average: Some(3), ..peak(3) }, GREEDY).expect("it fits");
    let given = run(&mut simulator, YEAR);
    assert!(given[1].abs_diff(YEAR) <= 256 + 64, "{given:?}");
    assert!(given[0] >= YEAR - 128, "{given:?}");
    // Nothing is lost, and nothing comes of nothing: the root's burst is 512.
    assert!(given.iter().sum::<u64>().abs_diff(3 * YEAR) <= 512 + 64, "{given:?}");
}

#[test]
fn who_was_idle_for_a_year_is_owed_nothing() {
    let year = Duration::from_secs(YEAR / 100);
    let mut simulator = source(64);
    let load = Load::Scripted { request: 64, stretches: vec![(year, 2 * year)] };
    simulator.add(ROOT, A, average(100), GREEDY).expect("it fits");
    simulator.add(ROOT, B, average(100), load).expect("it fits");
    let given = run(&mut simulator, YEAR / 100);
    assert!(given[0].abs_diff(64 * YEAR / 100) <= 1024, "{given:?}");
    let given = run(&mut simulator, 100);
    assert!(given[0].abs_diff(given[1]) <= 128, "{given:?}");
}

#[test]
fn who_was_alone_for_a_year_is_not_punished() {
    let mut simulator = source(64);
    simulator.add(ROOT, A, average(100), GREEDY).expect("it fits");
    run(&mut simulator, YEAR / 100);
    simulator.add(ROOT, B, average(100), GREEDY).expect("it fits");
    let given = run(&mut simulator, 100);
    assert!(given[0].abs_diff(given[1]) <= 128, "{given:?}");
}

#[test]
fn a_floor_that_is_taken_away_is_no_debt() {
    let mut simulator = source(64 * KIB);
    simulator.add(ROOT, A, floor(60 * KIB), GREEDY).expect("it fits");
    simulator.add(ROOT, B, Bandwidth::default(), GREEDY).expect("it fits");
    run(&mut simulator, 100);
    simulator.change(&[(A, Bandwidth::default())]).expect("it fits");
    let given = run(&mut simulator, 10);
    assert!(given[0].abs_diff(given[1]) <= 2 * KIB, "{given:?}");
}

#[test]
fn who_asks_for_a_little_at_a_time_has_its_floor() {
    let mut simulator = source(64 * KIB);
    let think = Duration::from_micros(50);
    simulator
        .add(ROOT, A, floor(32 * KIB), Load::Thinking { request: 64, think })
        .expect("it fits");
    for id in [B, C] {
        simulator.add(ROOT, id, floor(16 * KIB), Load::Greedy { request: 4096 }).expect("it fits");
    }
    let given = run(&mut simulator, 10);
    assert!(given[0] >= 10 * 32 * KIB * 98 / 100, "{given:?}");
    assert!(given[1] >= 10 * 16 * KIB - 256, "{given:?}");
}

#[test]
fn a_source_that_is_too_slow_is_shared_by_the_floors() {
    let mut simulator = source(64 * KIB);
    simulator.set_speed(8 * KIB);
    simulator.add(ROOT, A, floor(16 * KIB), GREEDY).expect("it fits");
    simulator.add(ROOT, B, floor(48 * KIB), GREEDY).expect("it fits");
    let given = run(&mut simulator, 100);
    assert!(given[0].abs_diff(200 * KIB) <= 4 * KIB, "{given:?}");
    assert!(given[1].abs_diff(600 * KIB) <= 12 * KIB, "{given:?}");
}

#[test]
fn who_comes_to_a_source_that_is_too_slow_does_not_starve() {
    let mut simulator = source(64 * KIB);
    simulator.set_speed(KIB);
    simulator.add(ROOT, A, floor(32 * KIB), GREEDY).expect("it fits");
    run(&mut simulator, 3600);
    simulator.add(ROOT, B, floor(32 * KIB), GREEDY).expect("it fits");
    let given = run(&mut simulator, 10);
    assert!(given[0].abs_diff(given[1]) <= 512, "{given:?}");
}

#[test]
fn a_source_that_recovers_keeps_the_floors_at_once() {
    let mut simulator = source(64 * KIB);
    simulator.set_speed(KIB);
    simulator.add(ROOT, A, floor(16 * KIB), GREEDY).expect("it fits");
    simulator.add(ROOT, B, floor(16 * KIB), GREEDY).expect("it fits");
    simulator.add(ROOT, C, average(64 * KIB), GREEDY).expect("it fits");
    run(&mut simulator, 3600);
    simulator.set_speed(1 << 30);
    // What was missed is made up for by no more than a moment: the others do not wait for it.
    let given = run(&mut simulator, 1);
    assert!(given[0] >= 16 * KIB - 128 && given[1] >= 16 * KIB - 128, "{given:?}");
    assert!(given[2] >= 24 * KIB, "{given:?}");
}
