//! Connections come and go.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use vfio_user_device::server::{AdmissionError, AdmissionPolicy};

use crate::server::{Scripted, TEST_TIMEOUT, TestServer, counted, wait_until};
use crate::vmm::Vmm;

#[test]
fn one_vmm_after_the_other_is_served() {
    let server = TestServer::counting();
    for round in 0..30 {
        let mut vmm = Vmm::start(&server.path(), &[]);
        assert_eq!(vmm.get(16), counted(16 * round, 16));
    }
    assert_eq!(server.state.stats().admitted, 30);
    assert_eq!(server.state.stats().rejected, 0);
    wait_until("the last one's end is seen", || server.state.stats().client.is_none());
}

#[test]
fn a_second_vmm_is_rejected_and_the_first_goes_on() {
    let server = TestServer::counting();
    let mut first = Vmm::start(&server.path(), &[]);
    let mut second = UnixStream::connect(server.path()).unwrap();
    second.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap(), 0, "the connection is closed");
    assert_eq!(server.state.stats().rejected, 1);
    assert_eq!(first.get(16), counted(0, 16));
}

#[test]
fn a_second_vmm_alone_is_rejected_before_a_session_could_end() {
    let server = TestServer::counting();
    let mut first = Vmm::start(&server.path(), &[]);
    let rejected_after = || {
        let begun = Instant::now();
        let mut second = UnixStream::connect(server.path()).unwrap();
        second.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0, "the connection is closed");
        begun.elapsed()
    };
    // A session may take a second to end; what a busy machine adds is not in the shortest time.
    let shortest = (0..5).map(|_| rejected_after()).min().unwrap();
    assert!(shortest < Duration::from_millis(700), "{shortest:?}");
    assert_eq!(first.get(16), counted(0, 16));
}

#[test]
fn two_guests_at_once_have_their_own_devices() {
    let servers = [TestServer::counting(), TestServer::counting()];
    let mut vmms = [0, 1].map(|number| Vmm::start(&TestServer::path(&servers[number]), &[]));
    for round in 0..20 {
        for vmm in &mut vmms {
            assert_eq!(vmm.get(16), counted(16 * round, 16));
        }
    }
}

#[test]
fn a_server_that_stops_closes_its_connection_and_takes_its_socket_along() {
    let mut server = TestServer::counting();
    let mut vmm = Vmm::start(&server.path(), &[]);
    assert_eq!(vmm.get(16).len(), 16);
    server.stop();
    assert!(!server.path().exists());
    assert!(vmm.frontend_is_closed());
    assert!(server.state.stats().client.is_none());
}

/// Admits two, and counts who has left.
#[derive(Default)]
struct Two {
    asked: AtomicUsize,
    left: AtomicUsize,
}

impl AdmissionPolicy for Two {
    fn admit(&self) -> Result<(), AdmissionError> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if asked < 2 { Ok(()) } else { Err(AdmissionError::new("two have been there")) }
    }

    fn release(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_policy_admits_each_vmm_and_hears_when_it_has_gone() {
    let policy = Arc::new(Two::default());
    let server = TestServer::start_with_policy(Scripted::counting().entropy(None), policy.clone());
    for round in 1..=2 {
        let mut vmm = Vmm::start(&server.path(), &[]);
        assert_eq!(vmm.get(16).len(), 16);
        assert_eq!(policy.left.load(Ordering::SeqCst), round - 1);
        drop(vmm);
        wait_until("the policy hears of it", || policy.left.load(Ordering::SeqCst) == round);
    }
    let mut third = UnixStream::connect(server.path()).unwrap();
    third.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    assert_eq!(third.read(&mut [0]).unwrap(), 0, "the connection is closed");
    assert_eq!(policy.left.load(Ordering::SeqCst), 2);
}

#[test]
fn vmms_that_connect_beside_another_one_do_not_wait_for_each_other() {
    let server = TestServer::counting();
    let mut first = Vmm::start(&server.path(), &[]);
    let begun = Instant::now();
    let others: Vec<_> = (0..12).map(|_| UnixStream::connect(server.path()).unwrap()).collect();
    for mut other in others {
        other.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        assert_eq!(other.read(&mut [0]).unwrap(), 0, "the connection is closed");
    }
    // One of them waits for a moment, in case the first one is about to go.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(server.state.stats().rejected, 12);
    assert_eq!(first.get(16), counted(0, 16));
    drop(first);
    assert_eq!(Vmm::start(&server.path(), &[]).get(16), counted(16, 16), "the next one");
}
