use super::*;
use crate::source::SourceFactory;
use crate::source::testing::{read, read_exactly, woken_within};

const KIB: u64 = 1024;

fn capacity(kib: u64) -> Bandwidth {
    Bandwidth::capacity(kib * KIB)
}

fn floor(kib: u64) -> Bandwidth {
    Bandwidth { floor: Some(kib * KIB), ..Bandwidth::default() }
}

/// A stream of a seed that is shared, so fast that no guest waits for its limit.
fn stream() -> SharedSource {
    let source = Specification::Chacha20 { seed: 0 };
    SharedSource::start("stream", &source, capacity(1 << 20), &[], &[]).unwrap()
}

/// A guest that has joined, and what its device has.
fn guest(shared: &SharedSource, name: &str) -> (Arc<Share>, Box<dyn Source>, Waker) {
    let share = shared.share("stream", name, Bandwidth::default());
    let waker = Waker::new().unwrap();
    let source = share.open(waker.clone()).unwrap();
    share.join(None).unwrap();
    (share, source, waker)
}

/// The beginning of the stream.
const STREAM: [u8; 8] = [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90];

#[test]
fn no_byte_is_given_twice_and_none_is_lost() {
    let shared = stream();
    let (_first, mut of_first, first_waker) = guest(&shared, "first");
    let (_second, mut of_second, second_waker) = guest(&shared, "second");
    assert_eq!(read(of_first.as_mut(), &first_waker, 3), STREAM[..3]);
    assert_eq!(read(of_second.as_mut(), &second_waker, 2), STREAM[3..5]);
    assert_eq!(read(of_first.as_mut(), &first_waker, 3), STREAM[5..]);
}

#[test]
fn bytes_for_a_guest_that_has_gone_are_the_next_ones() {
    let shared = stream();
    let (first, mut of_first, first_waker) = guest(&shared, "first");
    assert_eq!(of_first.read(&mut [0; 4]), ReadOutcome::Pending);
    assert!(woken_within(&first_waker, crate::source::testing::DEADLINE));
    // It was woken for them, and goes without taking them.
    first.leave(false);
    let (_second, mut of_second, second_waker) = guest(&shared, "second");
    assert_eq!(read_exactly(of_second.as_mut(), &second_waker, 8), STREAM);
}

#[test]
fn a_guest_that_has_not_joined_waits() {
    let shared = stream();
    let share = shared.share("stream", "a", Bandwidth::default());
    let waker = Waker::new().unwrap();
    let mut source = share.open(waker.clone()).unwrap();
    assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
    assert!(!woken_within(&waker, Duration::from_millis(20)));
    share.join(None).unwrap();
    assert_eq!(read(source.as_mut(), &waker, 4), STREAM[..4]);
}

#[test]
fn a_floor_that_does_not_fit_is_refused_and_nothing_is_taken_by_it() {
    let shared = stream();
    let half = (1 << 20) / 2;
    let shares: Vec<_> =
        ["a", "b", "c"].iter().map(|name| shared.share("stream", name, floor(half))).collect();
    let first = shares[0].join(None).unwrap();
    shares[1].join(None).unwrap();
    let error = shares[2].join(None).unwrap_err().to_string();
    assert!(error.starts_with("c: its floor of 524288 KiB/s does not fit: 0 KiB/s"), "{error}");
    assert_eq!(shares[2].class(), None);
    shares[0].leave(false);
    assert_eq!(shares[2].join(None).unwrap(), first, "the number is free, and lower than others");
}

#[test]
fn numbers_that_guests_had_before_are_not_given_to_others() {
    let source = Specification::Chacha20 { seed: 0 };
    let taken = [ClassId(0), ClassId(2)];
    let group = GroupOf { name: "group", parent: "stream", bandwidth: Bandwidth::default() };
    let shared = SharedSource::start("stream", &source, capacity(1), &[group], &taken).unwrap();
    let classes = shared.classes();
    assert_eq!((classes["stream"].id, classes["group"].id), (ClassId(1), ClassId(3)));
    let share = |name| shared.share("group", name, Bandwidth::default());
    assert_eq!(share("new").join(None).unwrap(), ClassId(4));
    let back = share("back");
    assert_eq!(back.join(Some(ClassId(2))).unwrap(), ClassId(2));
    share("never back").release(ClassId(0));
    assert_eq!(share("another").join(None).unwrap(), ClassId(0));
}

#[test]
fn bandwidths_change_all_or_not_at_all() {
    let shared = stream();
    let shares = ["a", "b"].map(|name| shared.share("stream", name, floor(8)));
    shares.iter().for_each(|share| assert!(share.join(None).is_ok()));
    let [a, b] = &shares;
    let floors = |of_b| vec![(&**a, Some(floor(6))), (&**b, Some(floor(of_b)))];
    let too_much = shared.prepare(capacity(10), Vec::new(), floors(6), &[]).err();
    assert!(matches!(too_much, Some(SharedError::Admission(_))), "{too_much:?}");
    assert_eq!((a.bandwidth(), shared.classes()["stream"].promised), (floor(8), 16 * KIB));
    shared.prepare(capacity(10), Vec::new(), floors(4), &[]).unwrap().apply();
    assert_eq!((a.bandwidth(), shared.classes()["stream"].promised), (floor(6), 10 * KIB));
}

#[test]
fn what_is_prepared_and_dropped_has_changed_nothing() {
    let shared = stream();
    let before = shared.classes();
    let group = GroupOf { name: "group", parent: "stream", bandwidth: floor(4) };
    drop(shared.prepare(capacity(10), vec![group], Vec::new(), &[]).unwrap());
    assert_eq!(shared.classes(), before);
}

#[test]
fn groups_come_and_go_beside_connected_guests() {
    let group = |name, parent| GroupOf { name, parent, bandwidth: floor(4) };
    let shared = stream();
    let give = |groups, shares| shared.prepare(capacity(8), groups, shares, &[]).unwrap().apply();
    give(vec![group("old", "stream"), group("inner", "old")], Vec::new());
    let (_stays, mut of_stays, waker) = guest(&shared, "stays");
    let goes = shared.share("inner", "goes", floor(4));
    goes.join(None).unwrap();
    let before = shared.classes();
    // The new one fits only without the old one, in which a guest is until it has left.
    give(vec![group("new", "stream"), group("inner", "new")], vec![(&goes, None)]);
    let after = shared.classes();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["inner", "new", "stream"]);
    assert_eq!((after["stream"].promised, after["inner"].promised), (4 * KIB, 0));
    assert_ne!(after["inner"].id, before["inner"].id, "it is in another one");
    goes.leave(false);
    assert_eq!(shared.common.state().retired, []);
    assert_eq!(read(of_stays.as_mut(), &waker, 4), STREAM[..4]);
    shared.share("inner", "comes", floor(4)).join(None).unwrap();
}

#[test]
fn groups_without_a_parent_and_sources_that_are_not_there_are_refused() {
    let source = Specification::Chacha20 { seed: 0 };
    let group = GroupOf { name: "group", parent: "missing", bandwidth: Bandwidth::default() };
    let error = SharedSource::start("s", &source, capacity(1), &[group], &[]).err().unwrap();
    assert_eq!(error.to_string(), "unknown class \"missing\"");
    let source = Specification::File { path: "/does/not/exist".into(), repeat: false };
    let error = SharedSource::start("s", &source, capacity(1), &[], &[]).err().unwrap();
    assert!(error.to_string().contains("/does/not/exist"), "{error}");
}

#[test]
fn another_source_gives_the_bytes_for_requests_that_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty");
    std::fs::write(&path, "").unwrap();
    let empty = Specification::File { path, repeat: false };
    let shared = SharedSource::start("stream", &empty, capacity(1 << 20), &[], &[]).unwrap();
    let (_share, mut source, waker) = guest(&shared, "a");
    assert_eq!(source.read(&mut [0; 8]), ReadOutcome::Pending);
    drop(shared.set_source(shared.open(&Specification::Chacha20 { seed: 0 }).unwrap()));
    assert_eq!(read(source.as_mut(), &waker, 8), STREAM);
    let missing = Specification::File { path: "/nonexistent".into(), repeat: false };
    assert!(shared.open(&missing).is_err());
}

#[test]
fn a_guest_that_leaves_while_numbers_change_is_in_the_tree_or_gone() {
    let shared = stream();
    let (share, ..) = guest(&shared, "a");
    let state = shared.common.state();
    let leaving = thread::spawn({
        let share = Arc::clone(&share);
        move || share.leave(false)
    });
    // A thread that sees the membership without its class must not find the class in the tree: while the tree
    // is not to be had, the membership is not either.
    for _ in 0..50 {
        if let Some(membership) = share.try_membership() {
            assert!(membership.class.is_some(), "its class is still in the tree");
        }
        thread::sleep(Duration::from_millis(1));
    }
    drop(state);
    leaving.join().unwrap();
    assert_eq!(share.class(), None);
}

#[test]
fn a_guest_that_should_have_gone_is_in_the_way_of_no_change() {
    let shared =
        SharedSource::start("stream", &Specification::Chacha20 { seed: 0 }, capacity(16), &[], &[])
            .unwrap();
    let stuck = shared.share("stream", "stuck", floor(16));
    stuck.join(None).unwrap();
    let group = GroupOf { name: "new", parent: "stream", bandwidth: floor(8) };
    shared.prepare(capacity(8), vec![group], Vec::new(), &[]).unwrap().apply();
    let states = shared.classes();
    assert_eq!(states["stream"].bandwidth, capacity(8));
    assert_eq!(states["stream"].promised, 8 * KIB, "to the new group alone");
    shared.share("new", "comes", floor(8)).join(None).unwrap();
    stuck.leave(false);
}

#[test]
fn a_guest_that_is_to_join_has_to_fit() {
    let shared = stream();
    let guest = |kib| Joining { parent: "new", guest: "a", bandwidth: floor(kib) };
    let groups = || vec![GroupOf { name: "new", parent: "stream", bandwidth: floor(8) }];
    assert!(shared.prepare(capacity(8), groups(), Vec::new(), &[guest(9)]).is_err());
    drop(shared.prepare(capacity(8), groups(), Vec::new(), &[guest(8)]).unwrap());
    assert!(SharedSource::fits("stream", capacity(8), &groups(), &[guest(9)]).is_err());
    SharedSource::fits("stream", capacity(8), &groups(), &[guest(8)]).unwrap();
}
