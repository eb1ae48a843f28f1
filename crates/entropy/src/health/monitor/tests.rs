use my_rng_model::generator::{ChaCha20, Generator};

use super::*;

/// α is 2 to the power of this.
const ALPHA: i32 = -40;

/// 1 + the smallest k with P(X > k) ≤ α, where X is the number of successes in n trials.
fn cutoff(trials: u32, success: f64) -> u32 {
    let log_factorial = |n: u32| (1..=n).map(|i| f64::from(i).ln()).sum::<f64>();
    let all = log_factorial(trials);
    let probability = |k: u32| {
        let choices = all - log_factorial(k) - log_factorial(trials - k);
        let (failures, k) = (f64::from(trials - k), f64::from(k));
        (choices + k * success.ln() + failures * (1.0 - success).ln()).exp()
    };
    let mut tail = 0.0;
    for k in (0..=trials).rev() {
        tail += probability(k);
        if tail > f64::from(2).powi(ALPHA) {
            return 1 + k;
        }
    }
    unreachable!("all of it is more than α")
}

#[test]
fn the_cutoffs_are_those_of_the_standard_for_four_bits_in_a_byte() {
    assert_eq!(REPETITION_CUTOFF, 1 + 40_u32.div_ceil(4));
    assert_eq!(BYTE_CUTOFF, cutoff(BYTE_WINDOW, 1.0 / 16.0));
    assert_eq!(BIT_CUTOFF, cutoff(BIT_WINDOW, 0.5_f64.sqrt()));
}

#[test]
fn alarms_in_a_window_come_with_less_than_two_to_the_power_of_minus_thirty() {
    let alpha = f64::from(2).powi(ALPHA);
    let windows_of_bits = BYTE_WINDOW * u8::BITS / BIT_WINDOW;
    // A run may end at each byte.
    let alarms = f64::from(BYTE_WINDOW + 1 + windows_of_bits) * alpha;
    assert!(alarms < f64::from(2).powi(-30), "{alarms}");
}

/// Bytes of run number `seed` that a broken source gives.
type Broken = fn(&mut ChaCha20) -> u8;

/// A byte whose bits are 1 with so many of 256.
fn biased(numbers: &mut ChaCha20, ones: u32) -> u8 {
    (0..8).fold(0, |byte, _| byte << 1 | u8::from(numbers.next_u32() & 0xff < ones))
}

fn byte(numbers: &mut ChaCha20) -> u8 {
    numbers.next_u32().to_le_bytes()[0]
}

const BROKEN: [(&str, Broken); 7] = [
    ("stuck at 0", |_| 0),
    ("stuck at 0xff", |_| 0xff),
    ("stuck at 0x5a", |_| 0x5a),
    ("90 % ones", |numbers| biased(numbers, 230)),
    ("10 % ones", |numbers| biased(numbers, 26)),
    ("one of two values", |numbers| 0x40 | byte(numbers) & 1),
    ("one of four values", |numbers| byte(numbers) & 0b1001),
];

#[test]
fn stuck_and_biased_sources_are_found_within_one_window_in_a_thousand_of_a_thousand_runs() {
    for (name, broken) in BROKEN {
        let found = (0..1000)
            .filter(|seed| {
                let (mut numbers, mut monitor) =
                    (ChaCha20::from_seed(*seed), HealthMonitor::default());
                (0..BYTE_WINDOW).any(|_| monitor.test(broken(&mut numbers)).is_err())
            })
            .count();
        assert_eq!(found, 1000, "{name}");
    }
}

#[test]
fn a_source_that_breaks_later_is_found_in_the_next_window() {
    for (name, broken) in BROKEN {
        let found = (0..1000)
            .filter(|seed| {
                let (mut numbers, mut monitor) =
                    (ChaCha20::from_seed(*seed), HealthMonitor::default());
                for _ in 0..seed % BYTE_WINDOW {
                    monitor.test(byte(&mut numbers)).unwrap();
                }
                (0..2 * BYTE_WINDOW).any(|_| monitor.test(broken(&mut numbers)).is_err())
            })
            .count();
        assert_eq!(found, 1000, "{name}");
    }
}

#[test]
fn good_sources_raise_no_alarm() {
    let (mut numbers, mut monitor) = (ChaCha20::from_seed(1), HealthMonitor::default());
    for _ in 0..1 << 20 {
        for byte in numbers.next_u32().to_le_bytes() {
            monitor.test(byte).unwrap();
        }
    }
    // Four bits in each byte, as claimed.
    for _ in 0..1 << 20 {
        let sixteen_values = byte(&mut numbers) & 0x0f;
        monitor.test(sixteen_values * 0x11).unwrap();
    }
}

#[test]
fn an_alarm_names_what_came_too_often_and_the_test_begins_anew() {
    let mut monitor = HealthMonitor::default();
    let results: Vec<_> = (0..22).map(|_| monitor.test(7)).collect();
    let alarm = Err(Alarm::Repetition(7));
    assert_eq!(results.iter().filter(|result| **result == alarm).count(), 2);
    assert_eq!(results[10], alarm);
    assert_eq!(results[21], alarm);
    let text = Alarm::Repetition(7).to_string();
    assert_eq!(text, "health test: the byte 0x07 11 times in a row");
}
