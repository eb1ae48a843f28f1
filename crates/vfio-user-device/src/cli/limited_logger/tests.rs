use std::sync::Arc;

use super::*;

fn written(left_out: u64, last: bool) -> Verdict {
    Verdict::Written { left_out, last }
}

#[test]
fn a_burst_is_written_and_then_one_line_in_each_interval() {
    let mut limiter = Limiter::default();
    let start = Instant::now();
    for line in 1..=BURST {
        assert_eq!(limiter.count(1, start), written(0, line == BURST));
    }
    for _ in 0..1000 {
        assert_eq!(limiter.count(1, start), Verdict::LeftOut);
    }
    assert_eq!(limiter.count(2, start), written(0, false), "another kind");
    assert_eq!(limiter.count(1, start + INTERVAL), written(1000, true));
    assert_eq!(limiter.count(1, start + INTERVAL), Verdict::LeftOut);
    let later = start + INTERVAL * (BURST + 10);
    assert_eq!(limiter.count(1, later), written(1, false), "it is full again");
}

#[test]
fn the_rate_holds_whenever_lines_come() {
    let mut limiter = Limiter::default();
    let start = Instant::now();
    let lines = (0..100_000)
        .filter(|ms| limiter.count(1, start + Duration::from_millis(*ms)) != Verdict::LeftOut);
    assert_eq!(lines.count(), BURST as usize + 9, "in 100 s");
}

#[test]
fn kinds_without_end_take_no_memory_without_end() {
    let mut limiter = Limiter::default();
    let start = Instant::now();
    let lines = (1..100_000).filter(|kind| limiter.count(*kind, start) != Verdict::LeftOut);
    assert_eq!(lines.count(), MAX_KINDS + BURST as usize);
    assert!(limiter.buckets.len() <= MAX_KINDS + 1);
    // Those that are full again make room.
    let later = start + 2 * INTERVAL;
    assert_eq!(limiter.count(200_000, later), written(0, false));
    assert_eq!(limiter.buckets.len(), 2);
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Log for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() != "off"
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn log(logger: &impl Log, level: Level, text: &str) {
    let record = Record::builder();
    logger.log(&{ record }.level(level).line(Some(7)).args(format_args!("{text}")).build());
}

#[test]
fn one_that_says_much_leaves_room_for_others() {
    let kept = Kept::default();
    let logger = LimitedLogger::new(kept.clone());
    for number in 0..1000 {
        log(&logger, Level::Info, &format!("a: rejected client {number}"));
    }
    log(&logger, Level::Warn, "b: rejected client 1");
    let lines = kept.0.lock().unwrap().clone();
    assert_eq!(lines.len(), BURST as usize + 1);
    assert_eq!(lines[BURST as usize - 2], "a: rejected client 8");
    assert_eq!(
        lines[BURST as usize - 1],
        "a: rejected client 9 (more lines like this are left out)"
    );
    assert_eq!(lines[BURST as usize], "b: rejected client 1");
}

#[test]
fn what_was_asked_for_line_by_line_is_written_line_by_line() {
    let kept = Kept::default();
    let logger = LimitedLogger::new(kept.clone());
    for number in 0..1000 {
        log(&logger, Level::Debug, &format!("read {number}"));
        let record = Record::builder();
        logger.log(&{ record }.target(OPERATOR).args(format_args!("reload {number}")).build());
    }
    assert_eq!(kept.0.lock().unwrap().len(), 2000);
}
