//! Small trees, step by step. What holds for all trees is in `tests/bandwidth`.

use super::*;

const ROOT: ClassId = ClassId(0);
const GROUP: ClassId = ClassId(1);
const A: ClassId = ClassId(2);
const B: ClassId = ClassId(3);
const KIB: u64 = 1 << 10;

/// A tree of 64 KiB/s, in which a group has a floor of 24 KiB/s.
fn tree() -> (Tree, Instant) {
    let now = Instant::now();
    let mut tree = Tree::new(ROOT, "hwrng", Bandwidth::capacity(64 * KIB), now).expect("a root");
    tree.add(ROOT, GROUP, "tenants", floor(24), now).expect("a group");
    (tree, now)
}

fn floor(kib: u64) -> Bandwidth {
    Bandwidth { floor: Some(kib * KIB), ..Bandwidth::default() }
}

fn peak(kib: u64) -> Bandwidth {
    Bandwidth { peak: Some(kib * KIB), ..Bandwidth::default() }
}

/// Serves all requests for so long, and returns what each of the first four classes got by that.
fn serve(tree: &mut Tree, now: &mut Instant, time: Duration) -> [u64; 4] {
    let end = *now + time;
    let given =
        |tree: &Tree| [0, 1, 2, 3].map(|id| tree.usage(ClassId(id)).map_or(0, |usage| usage.given));
    let before = given(tree);
    while *now < end {
        match tree.next(*now) {
            Next::Grant { class, bytes } => tree.charge(class, bytes, *now),
            Next::From(instant) => *now = instant.min(end),
            Next::Idle => *now = end,
        }
    }
    let after = given(tree);
    [0, 1, 2, 3].map(|index| after[index] - before[index])
}

#[test]
fn a_floor_that_does_not_fit_is_refused_with_the_numbers() {
    let (mut tree, now) = tree();
    tree.add(GROUP, A, "web1", floor(16), now).expect("it fits");
    let error = tree.add(GROUP, B, "web2", floor(16), now).expect_err("it does not fit");
    assert_eq!(
        error.to_string(),
        "web2: its floor of 16 KiB/s does not fit: 8 KiB/s of tenants's 24 KiB/s are left for \
         floors"
    );
    assert_eq!(tree.usage(B), None);
    tree.add(GROUP, B, "web2", floor(8), now).expect("it was not counted");
}

#[test]
fn impossible_bandwidths_are_refused() {
    let (mut tree, now) = tree();
    let mut refusal =
        |bandwidth| tree.add(GROUP, A, "web1", bandwidth, now).expect_err("impossible").to_string();
    assert_eq!(
        refusal(Bandwidth { peak: Some(4 * KIB), ..floor(8) }),
        "web1: its floor of 8 KiB/s is above its peak of 4 KiB/s (a peak that is left out is the \
         average)"
    );
    assert_eq!(
        refusal(Bandwidth { average: Some(1000), ..floor(8) }),
        "web1: its floor of 8 KiB/s is above its peak of 1000 B/s (a peak that is left out is the \
         average)"
    );
    assert_eq!(
        refusal(Bandwidth { average: Some(5 * KIB), ..peak(4) }),
        "web1: its average of 5 KiB/s is above its peak of 4 KiB/s"
    );
    assert_eq!(refusal(peak(0)), "web1: invalid peak: 0 bytes; expected 1 B to 1 TiB");
    assert!(refusal(floor(1 << 31)).starts_with("web1: invalid floor: 2199023255552 bytes"));
}

#[test]
fn a_root_has_a_capacity_and_nothing_else() {
    let refusal = |bandwidth| {
        Tree::new(ROOT, "hwrng", bandwidth, Instant::now()).expect_err("impossible").to_string()
    };
    assert_eq!(
        refusal(Bandwidth::default()),
        "hwrng: the average is missing; set it to the bytes per second that the source makes"
    );
    assert_eq!(
        refusal(Bandwidth { average: Some(4 * KIB), ..peak(4) }),
        "hwrng: cannot set the peak of a source; its average is its capacity"
    );
}

#[test]
fn a_group_keeps_what_it_promised() {
    let (mut tree, now) = tree();
    tree.add(GROUP, A, "web1", floor(16), now).expect("it fits");
    let error = tree.change(&[(GROUP, floor(8))], now).expect_err("it has promised more");
    assert_eq!(
        error.to_string(),
        "tenants: 8 KiB/s are less than the floors within it, which are 16 KiB/s together"
    );
    assert_eq!(tree.limits(GROUP).expect("it is there").floor, 24 * KIB);
    tree.change(&[(GROUP, floor(8)), (A, floor(8))], now).expect("both fit together");
    assert_eq!(tree.limits(GROUP).expect("it is there").floor, 8 * KIB);
}

#[test]
fn classes_are_not_nested_without_end() {
    let (mut tree, now) = tree();
    for depth in 3..=8 {
        let (parent, id) = (ClassId(depth - 2), ClassId(depth - 1));
        tree.add(parent, id, "deeper", Bandwidth::default(), now).expect("8 classes");
    }
    let error = tree.add(ClassId(7), ClassId(8), "deepest", Bandwidth::default(), now);
    assert!(matches!(error, Err(AdmissionError::TooDeep { depth: 9, .. })), "{error:?}");
}

#[test]
fn only_a_class_without_children_is_removed() {
    let (mut tree, now) = tree();
    tree.add(GROUP, A, "web1", floor(16), now).expect("it fits");
    let error = tree.remove(GROUP, now).expect_err("it has a child");
    assert_eq!(
        error.to_string(),
        "tenants: cannot remove a class with 1 children; remove them first"
    );
    assert!(matches!(tree.remove(ROOT, now), Err(RemovalError::HasChildren { .. })));
    tree.remove(A, now).expect("a leaf");
    assert_eq!(tree.remove(A, now), Err(RemovalError::Unknown(A)));
    tree.remove(GROUP, now).expect("it is empty");
    tree.add(ROOT, A, "web1", floor(64), now).expect("all of the source is free again");
}

#[test]
fn class_without_a_request_gets_nothing() {
    let (mut tree, now) = tree();
    tree.add(GROUP, A, "web1", floor(16), now).expect("it fits");
    assert_eq!(tree.next(now), Next::Idle);
    tree.request(A, 100, now);
    assert_eq!(tree.next(now), Next::Grant { class: A, bytes: 64 });
    assert_eq!(tree.next(now), Next::Grant { class: A, bytes: 64 });
    tree.charge(A, 64, now);
    assert_eq!(tree.next(now), Next::Grant { class: A, bytes: 36 });
    tree.request(A, 0, now);
    assert_eq!(tree.next(now), Next::Idle);
}

#[test]
fn a_source_that_made_nothing_is_asked_again() {
    let (mut tree, now) = tree();
    tree.add(GROUP, A, "web1", Bandwidth::default(), now).expect("it fits");
    tree.request(A, 64, now);
    for _ in 0..100 {
        assert_eq!(tree.next(now), Next::Grant { class: A, bytes: 64 });
        tree.charge(A, 0, now);
    }
}

#[test]
fn a_ceiling_names_the_time_when_it_opens() {
    let (mut tree, now) = tree();
    let bandwidth = Bandwidth { burst: Some(256), ..peak(1) };
    tree.add(GROUP, A, "web1", bandwidth, now).expect("it fits");
    tree.request(A, 1024, now);
    for _ in 0..4 {
        assert_eq!(tree.next(now), Next::Grant { class: A, bytes: 64 });
        tree.charge(A, 64, now);
    }
    let open = now + Duration::from_nanos(62_500_000);
    assert_eq!(tree.next(now), Next::From(open));
    assert_eq!(tree.next(open), Next::Grant { class: A, bytes: 64 });
}

#[test]
fn a_change_of_a_busy_class_holds_from_then_on() {
    let (mut tree, mut now) = tree();
    tree.add(ROOT, A, "web1", peak(8), now).expect("it fits");
    tree.add(ROOT, B, "web2", Bandwidth::default(), now).expect("it fits");
    let second = Duration::from_secs(1);
    for (bandwidth, least, most) in [(peak(8), 8, 9), (peak(16), 16, 17), (floor(40), 40, 42)] {
        tree.change(&[(A, bandwidth)], now).expect("it fits");
        tree.request(A, 1 << 40, now);
        tree.request(B, 1 << 40, now);
        let given = serve(&mut tree, &mut now, second);
        let range = least * KIB - 128..=most * KIB;
        assert!(range.contains(&given[2]), "{bandwidth:?}: {given:?}");
        assert!(given[0] >= 64 * KIB - 128, "{given:?}");
    }
}

#[test]
fn classes_come_and_go_while_others_are_served() {
    let (mut tree, mut now) = tree();
    let second = Duration::from_secs(1);
    tree.add(ROOT, A, "web1", floor(32), now).expect("it fits");
    tree.request(A, 1 << 40, now);
    assert!(serve(&mut tree, &mut now, second)[2] >= 64 * KIB - 128);
    tree.add(GROUP, B, "web2", floor(24), now).expect("it fits");
    tree.request(B, 1 << 40, now);
    let given = serve(&mut tree, &mut now, second);
    assert!(given[3] >= 24 * KIB - 256 && given[2] >= 32 * KIB - 128, "{given:?}");
    tree.remove(B, now).expect("a leaf");
    assert!(serve(&mut tree, &mut now, second)[2] >= 64 * KIB - 128);
}

#[test]
fn calls_for_a_removed_class_do_nothing() {
    let (mut tree, now) = tree();
    tree.add(GROUP, A, "web1", floor(16), now).expect("it fits");
    tree.request(A, 64, now);
    tree.remove(A, now).expect("a leaf");
    tree.charge(A, 64, now);
    tree.request(A, 64, now);
    assert_eq!(tree.next(now), Next::Idle);
}

#[test]
fn what_is_remembered_does_not_grow() {
    let (mut tree, mut now) = tree();
    for round in 0..1000 {
        let bandwidth = if round % 2 == 0 { floor(8) } else { peak(1) };
        for id in [A, B] {
            tree.add(GROUP, id, "web", bandwidth, now).expect("it fits");
            tree.request(id, 1 << 40, now);
        }
        serve(&mut tree, &mut now, Duration::from_millis(20));
        let classes = [ROOT, GROUP].map(|id| tree.classes.get(id).expect("it is there"));
        let places: usize = classes.iter().map(|class| class.scheduler.places()).sum();
        assert!(places + tree.capped.len() <= 2 * 4, "{tree:?}");
        for id in [A, B] {
            tree.remove(id, now).expect("a leaf");
        }
    }
    assert_eq!(tree.next(now), Next::Idle);
    assert!(tree.capped.is_empty());
    assert!(tree.classes.get(GROUP).expect("it is there").scheduler.is_empty());
}
