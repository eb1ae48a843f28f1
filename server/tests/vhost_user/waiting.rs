//! Requests that wait: for a source, for a limit's period. They hold up nothing, and nothing of
//! them is lost.

use std::time::{Duration, Instant};

use entropy::limiter::Limit;

use crate::server::{Scripted, TestServer, counted, wait_until};
use crate::vmm::{BUFFER, Vmm, WRITE};

const PERIOD: Duration = Duration::from_millis(300);

#[test]
fn a_request_waits_for_the_source() {
    let source = Scripted::empty();
    let server = TestServer::start(source.entropy(None));
    let mut vmm = Vmm::start(&server.path(), &[]);
    vmm.ask(64);
    vmm.assert_waits();
    source.put(counted(0, 10));
    assert_eq!(vmm.answer(), (0, 10), "what there is, and not all that was asked for");
    assert!(vmm.called());
    vmm.ask(64);
    vmm.assert_waits();
    source.put(counted(10, 100));
    assert_eq!(vmm.answer(), (0, 32), "Linux's reader misses 54, and cannot count them in one");
}

#[test]
fn requests_that_wait_are_answered_in_their_order() {
    let source = Scripted::empty();
    let server = TestServer::start(source.entropy(None));
    let mut vmm = Vmm::start(&server.path(), &[]);
    vmm.ask(4);
    vmm.descriptor(1, BUFFER, 4, WRITE, 0);
    vmm.offer(1);
    vmm.kick();
    vmm.assert_waits();
    source.put(counted(0, 8));
    assert_eq!([vmm.answer(), vmm.answer()], [(0, 4), (1, 4)]);
}

#[test]
fn a_request_is_pending_until_the_next_period_and_the_vmm_is_served_meanwhile() {
    let limit = Limit::new(100, PERIOD).unwrap();
    let server = TestServer::start(Scripted::counting().entropy(Some(limit)));
    let mut vmm = Vmm::start(&server.path(), &[]);
    let begun = Instant::now();
    assert_eq!(vmm.get(64).len(), 64);
    assert_eq!([vmm.get(64).len(), vmm.get(64).len()], [32, 4], "what the limit leaves");
    vmm.ask(64);
    // This is answered by the thread that must not wait, and takes its locks.
    vmm.share_memory();
    assert_eq!(vmm.answers(), 3, "the period cannot be over");
    assert!(begun.elapsed() < PERIOD, "the monitor had to wait");
    assert_eq!(vmm.answer(), (0, 28), "what the reader still misses");
    assert!(begun.elapsed() >= PERIOD, "after {:?}", begun.elapsed());
}

#[test]
fn a_queue_that_stops_gives_a_waiting_request_back_and_no_byte_is_lost() {
    let source = Scripted::empty();
    let server = TestServer::start(source.entropy(None));
    let mut vmm = Vmm::start(&server.path(), &[]);
    source.put(counted(0, 8));
    assert_eq!(vmm.get(8), counted(0, 8));
    vmm.ask(8);
    vmm.assert_waits();
    assert_eq!(vmm.stop_queue(), 1, "the second request has no answer");
    source.put(counted(8, 8));
    vmm.assert_waits();
    vmm.start_queue(1);
    assert_eq!(vmm.answer(), (0, 8));
    assert_eq!(vmm.read(BUFFER, 8), counted(8, 8));
}

#[test]
fn a_vmm_that_disconnects_leaves_the_bytes_to_the_next_one() {
    let source = Scripted::empty();
    let server = TestServer::start(source.entropy(None));
    let mut first = Vmm::start(&server.path(), &[]);
    first.ask(8);
    first.assert_waits();
    drop(first);
    // Until then it is as if the bytes had come a moment earlier.
    wait_until("the end is seen", || server.state.stats().client.is_none());
    source.put(counted(0, 8));
    let mut second = Vmm::start(&server.path(), &[]);
    assert_eq!(second.get(8), counted(0, 8));
}

#[test]
fn the_limit_outlives_a_connection() {
    let limit = Limit::new(64, Duration::from_secs(3600)).unwrap();
    let server = TestServer::start(Scripted::counting().entropy(Some(limit)));
    let mut first = Vmm::start(&server.path(), &[]);
    assert_eq!(first.get(64).len(), 64);
    drop(first);
    let mut second = Vmm::start(&server.path(), &[]);
    second.ask(1);
    second.assert_waits();
}

#[test]
fn odd_pieces_of_a_source_end_where_linuxs_readers_do() {
    let source = Scripted::empty();
    let server = TestServer::start(source.entropy(None));
    let mut vmm = Vmm::start(&server.path(), &[]);
    let (mut put, mut got) = (0, 0);
    while got < 10 * 64 {
        if put < got + 64 {
            source.put(counted(put, 40));
            put += 40;
        }
        let bytes = vmm.get(64);
        assert_eq!(bytes, counted(got, bytes.len()));
        assert!(bytes.len() <= 64 - got % 64, "{} of what is missing after {got}", bytes.len());
        assert!(!(33..64).contains(&bytes.len()), "{} after {got}", bytes.len());
        got += bytes.len();
    }
}
