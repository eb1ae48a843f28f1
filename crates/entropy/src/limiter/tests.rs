//! The limiter on a clock that the tests advance.

use proptest::prelude::*;

use super::*;

fn limiter(max_bytes: u64, period_ms: u64) -> Limiter {
    Limiter::new(Limit::new(max_bytes, Duration::from_millis(period_ms)).unwrap())
}

/// Takes what is allowed; returns it, or when to come back.
fn take(limiter: &mut Limiter, now: Instant, wanted: u64) -> Available {
    let allowance = limiter.available(now, wanted);
    if let Available::Bytes(bytes) = allowance {
        assert!((1..=wanted).contains(&bytes));
        limiter.spend(now, bytes);
    }
    allowance
}

/// The most bytes in any stretch of time of that length, both ends included.
pub(crate) fn most_in(period: Duration, trace: &[(Instant, u64)]) -> u64 {
    let mut most = 0;
    let mut oldest = 0;
    let mut sum = 0;
    for (now, bytes) in trace {
        sum += bytes;
        while *now - trace[oldest].0 > period {
            sum -= trace[oldest].1;
            oldest += 1;
        }
        most = most.max(sum);
    }
    most
}

#[test]
fn the_limit_is_granted_at_once_and_again_after_a_period() {
    let start = Instant::now();
    let mut limiter = limiter(1000, 100);
    assert_eq!(take(&mut limiter, start, 600), Available::Bytes(600));
    assert_eq!(take(&mut limiter, start, 600), Available::Bytes(400), "what is left");
    let again = start + Duration::from_millis(100) + TICK;
    assert_eq!(take(&mut limiter, start, 1), Available::From(again));
    assert_eq!(take(&mut limiter, again - TICK, 1), Available::From(again));
    assert_eq!(take(&mut limiter, again, 5000), Available::Bytes(1000));
}

#[test]
fn what_is_allowed_and_not_taken_does_not_count() {
    let start = Instant::now();
    let mut limiter = limiter(1000, 100);
    for _ in 0..10 {
        assert_eq!(limiter.available(start, 1000), Available::Bytes(1000));
    }
    limiter.spend(start, 1);
    assert_eq!(limiter.available(start, 1000), Available::Bytes(999));
    limiter.spend(start, 0);
    assert_eq!(limiter.available(start, 1000), Available::Bytes(999));
}

#[test]
fn after_idle_time_the_whole_amount_is_there_and_no_more() {
    let start = Instant::now();
    let mut limiter = limiter(1000, 100);
    take(&mut limiter, start, 1000);
    let later = start + Duration::from_secs(3600);
    assert_eq!(take(&mut limiter, later, 5000), Available::Bytes(1000));
    assert!(matches!(take(&mut limiter, later, 1), Available::From(_)));
}

#[test]
fn the_turn_of_a_period_gives_no_second_share() {
    let start = Instant::now();
    let mut limiter = limiter(1000, 100);
    let late = start + Duration::from_millis(99);
    assert_eq!(take(&mut limiter, late, 1000), Available::Bytes(1000));
    let turned = start + Duration::from_millis(101);
    assert!(matches!(take(&mut limiter, turned, 1), Available::From(then) if then > turned));
}

#[test]
fn a_clock_that_stands_still_or_goes_back_grants_nothing_new() {
    let start = Instant::now() + Duration::from_secs(1);
    let mut limiter = limiter(100, 1000);
    for _ in 0..100 {
        assert_eq!(take(&mut limiter, start, 1), Available::Bytes(1));
    }
    assert_eq!(limiter.taken.len(), 1);
    let back = start - Duration::from_millis(500);
    for now in [start, back] {
        assert!(matches!(take(&mut limiter, now, 1), Available::From(then) if then > start));
    }
}

#[test]
fn more_than_was_allowed_is_paid_for() {
    let start = Instant::now();
    let ms = Duration::from_millis;
    let mut limiter = limiter(100, 100);
    limiter.spend(start, 50);
    limiter.spend(start + ms(10), 300);
    let room = start + ms(110) + TICK;
    assert_eq!(limiter.available(start + ms(20), 1), Available::From(room));
    assert_eq!(limiter.available(room, 1000), Available::Bytes(100));
}

#[test]
fn memory_is_bounded_however_small_the_pieces() {
    for period in [1, 100, 1000] {
        let mut now = Instant::now();
        let mut limiter = limiter(1 << 40, period);
        for _ in 0..100_000 {
            take(&mut limiter, now, 1);
            now += Duration::from_nanos(period * 100);
        }
        assert!(limiter.taken.len() <= 2 + 256, "{}", limiter.taken.len());
    }
}

#[test]
fn a_guest_that_takes_all_it_can_gets_its_limit() {
    const REQUEST: u64 = 64;
    const COST: Duration = Duration::from_micros(200);
    for (max_bytes, period_ms) in [
        (512, 1000),
        (1024, 1000),
        (65536, 100),
        (1 << 20, 60000),
        (5000, 2000),
        (5000, 10),
        (1000, 100),
        (10000, 100),
        (100_000, 100),
    ] {
        let period = Duration::from_millis(period_ms);
        let mut limiter = limiter(max_bytes, period_ms);
        let start = Instant::now();
        let end = start + 5 * period;
        let mut now = start;
        let mut trace = Vec::new();
        while now < end {
            match take(&mut limiter, now, REQUEST) {
                Available::Bytes(bytes) => {
                    trace.push((now, bytes));
                    now += COST;
                }
                Available::From(then) => {
                    assert!(then > now);
                    now = then;
                }
            }
        }
        assert!(most_in(period, &trace) <= max_bytes);
        // The guest itself takes no more than that.
        let demand = REQUEST * u64::try_from((5 * period).as_nanos() / COST.as_nanos()).unwrap();
        let expected = demand.min(5 * max_bytes);
        let taken: u64 = trace.iter().map(|(_, bytes)| bytes).sum();
        assert!(100 * taken >= 98 * expected, "{max_bytes}/{period_ms}: {taken} of {expected}");
    }
}

#[test]
fn many_periods_with_requests_of_any_size_come_to_the_limit() {
    for request in [1, 7, 64, 1000, 100_000] {
        let mut limiter = limiter(1000, 10);
        let start = Instant::now();
        let (mut now, mut taken) = (start, 0);
        while now < start + Duration::from_secs(1) {
            match take(&mut limiter, now, request) {
                Available::Bytes(bytes) => taken += bytes,
                Available::From(then) => now = then,
            }
            now += Duration::from_nanos(100);
        }
        assert!(taken >= 98_000, "{request}: {taken}");
    }
}

#[test]
fn limits_out_of_range_are_refused_in_the_words_of_qemu() {
    let max_bytes = "'max-bytes' parameter must be positive, and less than 2^63";
    for text in ["0", "-1", "9223372036854775808", "18446744073709551616", "-0"] {
        assert_eq!(text.parse::<MaxBytes>().unwrap_err().to_string(), max_bytes, "{text}");
    }
    for text in ["", "-", "x", "1k", "1.5", " 1"] {
        let message = text.parse::<MaxBytes>().unwrap_err().to_string();
        assert_eq!(message, "Parameter 'max-bytes' expects uint64", "{text}");
    }
    let positive = "'period' parameter expects a positive integer";
    assert_eq!("0".parse::<Period>().unwrap_err().to_string(), positive);
    for text in ["-1", "", "x", "4294967296", "1s"] {
        let message = text.parse::<Period>().unwrap_err().to_string();
        assert_eq!(message, "Parameter 'period' expects uint32_t", "{text}");
    }
    const SECOND: Duration = Duration::from_secs(1);
    assert_eq!(Limit::new(0, SECOND), Err(LimitError::MaxBytes));
    assert_eq!(Limit::new(1 << 63, SECOND), Err(LimitError::MaxBytes));
    assert_eq!(Limit::new(1, Duration::ZERO), Err(LimitError::Period));
    assert_eq!(Limit::new(1, Duration::MAX), Err(LimitError::PeriodType));
}

#[test]
fn limits_at_the_edges_are_understood() {
    for (text, bytes) in [("1", 1), ("9223372036854775807", (1 << 63) - 1)] {
        assert_eq!(text.parse::<MaxBytes>().unwrap().get(), bytes);
    }
    for (text, milliseconds) in [("1", 1), ("4294967295", u32::MAX)] {
        let period = Duration::from_millis(milliseconds.into());
        assert_eq!(text.parse::<Period>().unwrap().get(), period);
    }
    let max_bytes = "9223372036854775807".parse().unwrap();
    let widest = Limit { max_bytes, period: "4294967295".parse().unwrap() };
    let now = Instant::now();
    let mut limiter = Limiter::new(widest);
    assert_eq!(take(&mut limiter, now, u64::MAX), Available::Bytes((1 << 63) - 1));
    assert!(matches!(take(&mut limiter, now, 1), Available::From(then) if then > now));
}

/// Steps of a clock and sizes of requests, from very small to very large ones.
fn demands() -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
    let step = prop_oneof![Just(0), 0..10_u64, 0..1_000_000_u64, 0..30_000_000_u64];
    let wanted = prop_oneof![Just(1), 1..100_u64, 1..20_000_u64];
    prop::collection::vec((step, wanted, any::<bool>()), 1..400)
}

proptest! {
    #[test]
    fn no_stretch_of_a_period_has_more_than_the_limit(
        max_bytes in 1..10_000_u64,
        period_ms in 1..50_u64,
        demands in demands(),
    ) {
        let period = Duration::from_millis(period_ms);
        let mut limiter = limiter(max_bytes, period_ms);
        let mut now = Instant::now();
        let mut trace = Vec::new();
        for (step, wanted, patient) in demands {
            now += Duration::from_nanos(step);
            match take(&mut limiter, now, wanted) {
                Available::Bytes(bytes) => trace.push((now, bytes)),
                Available::From(then) => {
                    prop_assert!(then > now);
                    if patient {
                        now = then;
                        prop_assert!(matches!(take(&mut limiter, now, wanted), Available::Bytes(bytes) if {
                            trace.push((now, bytes));
                            true
                        }), "the time that was named is late enough");
                    }
                }
            }
            prop_assert!(limiter.taken.len() <= 2 + 256);
        }
        prop_assert!(most_in(period, &trace) <= max_bytes);
    }
}
