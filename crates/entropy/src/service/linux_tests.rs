//! The service with sources of odd pieces and with limits, on a clock that the tests advance, and a
//! guest with Linux's driver.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::linux::LinuxDriver;
use super::*;
use crate::limiter::tests::most_in;

/// The buffer of Linux's driver on x86-64.
const BUFFER: u64 = 64;

/// A source with these pieces, again and again: so many bytes, or none until it is asked again. Its
/// bytes are 0, 1, 2 and so on.
struct Pieces {
    pieces: VecDeque<usize>,
    next: u8,
}

impl Source for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        self.pieces.rotate_left(1);
        match self.pieces.back() {
            Some(0) | None => ReadOutcome::Pending,
            Some(piece) => {
                let count = buffer.len().min(*piece);
                for byte in &mut buffer[..count] {
                    *byte = self.next;
                    self.next = self.next.wrapping_add(1);
                }
                ReadOutcome::Bytes(count)
            }
        }
    }
}

/// A source that has all that is asked for.
fn endless() -> VecDeque<usize> {
    VecDeque::from([MAX_BYTES])
}

fn entropy(pieces: impl Into<VecDeque<usize>>, limit: Option<Limit>) -> Entropy {
    let source = Pieces { pieces: pieces.into(), next: 0 };
    Entropy::new(Box::new(source), Waker::new().unwrap(), limit)
}

fn limit(max_bytes: u64, period_ms: u64) -> Limit {
    Limit::new(max_bytes, Duration::from_millis(period_ms)).unwrap()
}

fn numbers(range: std::ops::Range<u8>) -> TakeOutcome {
    TakeOutcome::Bytes(range.collect())
}

/// A guest with Linux's driver, and its time.
struct Guest {
    entropy: Entropy,
    driver: LinuxDriver,
    now: Instant,
    /// When it was given how much.
    trace: Vec<(Instant, u64)>,
}

impl Guest {
    fn new(pieces: impl Into<VecDeque<usize>>, limit: Option<Limit>, buffer: u64) -> Self {
        let driver = LinuxDriver::new(buffer);
        let entropy = entropy(pieces, limit);
        Guest { entropy, driver, now: Instant::now(), trace: Vec::new() }
    }

    /// Serves requests until one has to wait, and returns for what.
    fn serve(&mut self) -> Option<TakeOutcome> {
        loop {
            let room = self.driver.request()?;
            match self.entropy.take(|| self.now, room) {
                TakeOutcome::Bytes(bytes) => {
                    self.trace.push((self.now, bytes.len() as u64));
                    self.driver.complete(bytes.len() as u64);
                }
                wait => return Some(wait),
            }
        }
    }

    /// A program reads all the time until then.
    fn read_until(&mut self, end: Instant) {
        while self.now < end && !self.driver.hangs() {
            self.driver.read();
            if let Some(TakeOutcome::RetryAfter(time)) = self.serve() {
                assert!(!time.is_zero(), "it would be asked again and again");
                self.now += time;
            }
        }
    }

    /// Reads one piece, whatever happened before; it has to come.
    fn assert_goes_on(&mut self) {
        let before = self.driver.delivered();
        // The smallest block is a byte, and a read may end early.
        for _ in 0..20 * self.driver.size() {
            self.driver.read();
            assert!(!self.driver.hangs(), "{:?}", self.driver);
            if let Some(TakeOutcome::RetryAfter(time)) = self.serve() {
                self.now += time;
            }
            assert!(!self.driver.hangs(), "{:?}", self.driver);
            if self.driver.delivered() >= before + self.driver.size() {
                return;
            }
        }
        panic!("{:?}: no more bytes than {before}", self.driver);
    }
}

/// The completions of that many requests for a whole buffer, with no time in between.
fn completions(mut entropy: Entropy, requests: usize) -> Vec<u64> {
    let now = Instant::now();
    let taken = (0..requests).map_while(|_| match entropy.take(|| now, BUFFER) {
        TakeOutcome::Bytes(bytes) => Some(bytes.len() as u64),
        _ => None,
    });
    taken.collect()
}

#[test]
fn what_linux_cannot_count_is_held_for_its_next_request() {
    let mut entropy = entropy([40, 0], None);
    assert_eq!(entropy.take(Instant::now, BUFFER), numbers(0..32), "not 40 of 64");
    entropy.reuse(vec![0xff; 64]);
    assert_eq!(entropy.take(Instant::now, BUFFER), numbers(32..40));
    assert_eq!(entropy.take(Instant::now, BUFFER), TakeOutcome::Pending, "nothing is made up");
    assert_eq!(entropy.take(Instant::now, BUFFER), numbers(40..64), "what the reader misses");
}

#[test]
fn what_is_held_is_for_the_next_request_whatever_its_size() {
    let mut entropy = entropy([40, 0], None);
    assert_eq!(entropy.take(Instant::now, BUFFER), numbers(0..32));
    entropy.forget_request();
    assert_eq!(entropy.take(Instant::now, 3), numbers(32..35));
    entropy.reuse(vec![0xff; 64]);
    assert_eq!(entropy.take(Instant::now, 1000), numbers(35..40));
}

#[test]
fn requests_that_linux_does_not_make_get_what_there_is() {
    for room in [1000, 512, 96, 65] {
        let mut entropy = entropy([40, 0], Some(limit(100, 1000)));
        let now = Instant::now();
        assert_eq!(entropy.take(|| now, room), numbers(0..40), "{room}");
        assert_eq!(entropy.take(|| now, room), TakeOutcome::Pending, "{room}");
        assert_eq!(entropy.take(|| now, room), numbers(40..80), "{room}");
        assert_eq!(entropy.take(|| now, room), TakeOutcome::Pending, "{room}");
        assert_eq!(entropy.take(|| now, room), numbers(80..100), "{room}: the limit's rest");
        assert!(matches!(entropy.take(|| now, room), TakeOutcome::RetryAfter(_)), "{room}");
    }
    let mut entropy = entropy(endless(), None);
    assert_eq!(entropy.take(Instant::now, 1), numbers(0..1));
    assert_eq!(entropy.take(Instant::now, 2), numbers(1..3));
}

#[test]
fn a_limit_is_used_to_its_last_byte() {
    for (max_bytes, expected) in [
        (1, &[1][..]),
        (10, &[10]),
        (40, &[32, 8]),
        (50, &[32, 18]),
        (63, &[32, 31]),
        (100, &[64, 32, 4]),
        (128, &[64, 64]),
    ] {
        let entropy = entropy(endless(), Some(limit(max_bytes, 1000)));
        assert_eq!(completions(entropy, 100), expected, "{max_bytes}");
    }
}

#[test]
fn completions_become_whole_again_after_the_smallest() {
    let mut pieces = VecDeque::from(vec![1; 63]);
    pieces.extend([MAX_BYTES; 137]);
    let sizes = completions(entropy(pieces, None), 200);
    assert_eq!(sizes[..63], [1; 63]);
    let whole = sizes.iter().position(|bytes| *bytes == BUFFER).unwrap();
    assert_eq!(whole, 63 + 1 + 32 + 16 + 8 + 4 + 2, "{sizes:?}");
    assert!(sizes[whole..].iter().all(|bytes| *bytes == BUFFER), "{sizes:?}");
}

/// What Linux 6.12.107, 6.12.117 and 7.3.4 did that were given these completions: before which one
/// they stopped to ask, if they did.
const TRIED: [(&[u64], Option<usize>); 16] = [
    (&[32, 64, 64, 64], None),
    (&[33, 64, 64], Some(2)),
    (&[40, 64, 64], Some(2)),
    (&[62, 64, 64], Some(2)),
    (&[32, 1, 64, 64], Some(3)),
    (&[32, 31, 2, 64, 64, 64], None),
    (&[63, 2, 64, 64], None),
    (&[63, 3, 64], Some(2)),
    (&[42, 42, 42, 42, 42, 42], None),
    (&[43, 43, 64], Some(2)),
    (&[16, 16, 16, 16, 16, 64, 64], None),
    (&[40, 24, 40, 24, 64, 64, 64], None),
    (&[48, 32, 64, 64], None),
    (&[48, 33, 64], Some(2)),
    (&[16, 21, 8, 2, 32, 34, 21, 64, 19], Some(8)),
    (&[7, 16, 18, 32, 1, 46, 47, 64, 15, 42], Some(7)),
];

#[test]
fn the_model_of_linux_hangs_where_kernels_hung() {
    for (completions, hung) in TRIED {
        let mut driver = LinuxDriver::new(BUFFER);
        driver.read();
        let stopped = completions.iter().position(|bytes| {
            if driver.request().is_some() {
                driver.complete(*bytes);
                driver.read();
                return false;
            }
            assert!(driver.hangs());
            true
        });
        assert_eq!(stopped, hung, "{completions:?}");
    }
}

#[test]
fn a_linux_guest_gets_all_of_any_limit() {
    let uneven = (1..=200).chain((256..=1024).step_by(128).flat_map(|near| near - 2..=near + 2));
    for max_bytes in uneven.chain([1000, 5000, 65_536]) {
        for (buffer, period_ms) in [(64, 1), (64, 100), (64, 65_536), (32, 7), (128, 7), (256, 7)] {
            let limit = limit(max_bytes, period_ms);
            let mut guest = Guest::new(endless(), Some(limit), buffer);
            let period = Duration::from_millis(period_ms);
            guest.read_until(guest.now + 5 * period);
            assert!(!guest.driver.hangs(), "{limit:?}: {:?}", guest.driver);
            assert!(most_in(period, &guest.trace) <= max_bytes, "{limit:?}: too much");
            let given: u64 = guest.trace.iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(given, 5 * max_bytes, "{limit:?}");
            assert_eq!(guest.driver.delivered(), given, "{limit:?}: the driver lost bytes");
            let most = 5 * (max_bytes / buffer + SMALL);
            assert!(guest.trace.len() as u64 <= most, "{limit:?}: {} requests", guest.trace.len());
        }
    }
}

/// How many more requests a period may take than it has whole buffers.
const SMALL: u64 = 40;

/// What can happen in a guest and to its limit.
#[derive(Clone, Debug)]
enum Event {
    Read,
    ReadWithoutWaiting,
    KillReader,
    Deselect,
    /// So many microseconds pass.
    Pass(u64),
    /// The limit becomes another one, or none.
    ChangeLimit(Option<u64>),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Read),
        1 => Just(Event::ReadWithoutWaiting),
        2 => Just(Event::KillReader),
        1 => Just(Event::Deselect),
        4 => (0..20_000_u64).prop_map(Event::Pass),
    ]
}

fn event_with_changes() -> impl Strategy<Value = Event> {
    prop_oneof![12 => event(), 1 => prop::option::of(1..300_u64).prop_map(Event::ChangeLimit)]
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    let odd = prop::collection::vec(prop_oneof![Just(0), 1..64_usize, 1..300_usize], 1..12);
    odd.prop_filter("a source without bytes", |pieces| pieces.iter().any(|piece| *piece > 0))
}

const PERIOD_MS: u64 = 10;

impl Guest {
    fn happens(&mut self, event: &Event) {
        match event {
            Event::Read => self.driver.read(),
            Event::ReadWithoutWaiting => self.driver.read_without_waiting(),
            Event::KillReader => self.driver.kill_reader(),
            Event::Deselect => self.driver.deselect(),
            Event::Pass(time) => self.now += Duration::from_micros(*time),
            Event::ChangeLimit(max_bytes) => {
                let limit = max_bytes.map(|max_bytes| limit(max_bytes, PERIOD_MS));
                self.entropy.control().set_limit(limit);
            }
        }
        self.serve();
    }
}

proptest! {
    #[test]
    fn a_linux_guest_goes_on_whatever_its_readers_do_and_the_limit_holds(
        max_bytes in prop_oneof![1..300_u64, 300..3000_u64],
        buffer in prop::sample::select(vec![32_u64, 64, 128, 256]),
        pieces in pieces(),
        events in prop::collection::vec(event(), 1..200),
    ) {
        let mut guest = Guest::new(pieces, Some(limit(max_bytes, PERIOD_MS)), buffer);
        for event in &events {
            guest.happens(event);
            prop_assert!(!guest.driver.hangs(), "{:?}", guest.driver);
        }
        guest.assert_goes_on();
        let period = Duration::from_millis(PERIOD_MS);
        prop_assert!(most_in(period, &guest.trace) <= max_bytes);
    }

    #[test]
    fn a_linux_guest_goes_on_when_its_limit_changes(
        buffer in prop::sample::select(vec![32_u64, 64, 128, 256]),
        pieces in pieces(),
        events in prop::collection::vec(event_with_changes(), 1..400),
    ) {
        let mut guest = Guest::new(pieces, None, buffer);
        for event in &events {
            guest.happens(event);
            prop_assert!(!guest.driver.hangs(), "{:?}", guest.driver);
        }
        guest.assert_goes_on();
    }
}
