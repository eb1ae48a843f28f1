use super::*;
use crate::source::Specification;

/// The beginning of the stream of seed 0.
const STREAM: [u8; 8] = [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90];

fn limit(bytes: u64, seconds: u64) -> Option<Limit> {
    Some(Limit::new(bytes, Duration::from_secs(seconds)).unwrap())
}

/// A service of that source, and the waker.
fn service(source: &str, limit: Option<Limit>) -> Entropy {
    let waker = Waker::new().unwrap();
    let source = source.parse::<Specification>().unwrap();
    Entropy::new(source.open(waker.clone()).unwrap(), waker, limit)
}

fn woken(entropy: &Entropy) -> bool {
    rustix::io::read(entropy.waker(), &mut [0; 8]).is_ok()
}

#[test]
fn another_limit_counts_what_was_taken_and_wakes_a_request_that_waits() {
    let mut entropy = service("file:/dev/zero", limit(100, 1000));
    let control = entropy.control();
    let start = Instant::now();
    let at = |seconds| move || start + Duration::from_secs(seconds);
    assert_eq!(entropy.take(at(0), 100), TakeOutcome::Bytes(vec![0; 100]));
    assert!(matches!(entropy.take(at(1), 10), TakeOutcome::RetryAfter(_)));
    assert!(!woken(&entropy));
    control.set_limit(limit(130, 1000));
    assert!(woken(&entropy));
    assert_eq!(entropy.take(at(1), 100), TakeOutcome::Bytes(vec![0; 30]));
    control.set_limit(limit(130, 10));
    assert!(matches!(entropy.take(at(9), 10), TakeOutcome::RetryAfter(_)));
    assert_eq!(entropy.take(at(12), 200), TakeOutcome::Bytes(vec![0; 130]));
    control.set_limit(None);
    assert_eq!(entropy.take(at(12), 200), TakeOutcome::Bytes(vec![0; 200]));
    control.set_limit(limit(5, 10));
    assert_eq!(entropy.take(at(12), 200), TakeOutcome::Bytes(vec![0; 5]));
}

#[test]
fn another_source_gives_the_bytes_for_a_request_that_waits() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let mut entropy = service(&format!("file:{}", empty.display()), None);
    assert_eq!(entropy.take(Instant::now, 4), TakeOutcome::Pending);
    let control = entropy.control();
    let other = control.open(&Specification::Chacha20 { seed: 0 }).unwrap();
    drop(control.set_source(other));
    assert!(woken(&entropy));
    assert_eq!(entropy.take(Instant::now, 8), TakeOutcome::Bytes(STREAM.to_vec()));
}

#[test]
fn bytes_that_another_source_left_over_are_not_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let forty = folder.path().join("forty");
    std::fs::write(&forty, [0xff; 40]).unwrap();
    let mut entropy = service(&format!("file:{}", forty.display()), None);
    let first = loop {
        match entropy.take(Instant::now, 64) {
            TakeOutcome::Bytes(bytes) => break bytes,
            _ => std::thread::yield_now(),
        }
    };
    assert_eq!(first, [0xff; 32], "8 are held");
    let control = entropy.control();
    drop(control.set_source(control.open(&Specification::Chacha20 { seed: 0 }).unwrap()));
    let TakeOutcome::Bytes(bytes) = entropy.take(Instant::now, 64) else { panic!("it has bytes") };
    assert_eq!(bytes[..8], STREAM);
}
