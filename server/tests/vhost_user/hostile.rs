//! Monitors and guests that do not keep to the rules: each harms itself alone.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use entropy::service::Entropy;
use entropy::source::Specification;
use my_rng_model::generator::{ChaCha20, Generator};
use rustix::fs::ftruncate;
use vfio_user_device::Waker;
use vhost::VhostBackend;
use vmm_sys_util::eventfd::EventFd;

use crate::server::{TEST_TIMEOUT, TestServer, counted, wait_until};
use crate::vmm::{AVAILABLE, BUFFER, MEMORY, Vmm, WRITE};

/// Numbers of messages, from the specification.
const GET_FEATURES: u32 = 1;
const SET_MEM_TABLE: u32 = 5;
const SET_LOG_BASE: u32 = 6;
const SET_VRING_ADDR: u32 = 9;
const SET_PROTOCOL_FEATURES: u32 = 16;
const LAST: u32 = 50;
/// The protocol's version, in a message's flags.
const VERSION: u32 = 1;

/// After that time a server leaves a session behind that does not end.
const SESSION_END: Duration = Duration::from_secs(1);

/// Bytes without end.
fn endless() -> Entropy {
    let waker = Waker::new().unwrap();
    let source = "chacha20:1".parse::<Specification>().unwrap().open(waker.clone()).unwrap();
    Entropy::new(source, waker, None)
}

/// A message of any kind, whatever its length is.
fn message(number: u32, flags: u32, length: u32, payload: &[u8]) -> Vec<u8> {
    let header = [number, flags, length].map(u32::to_ne_bytes).concat();
    [&header, payload].concat()
}

/// Sends bytes and hangs up. What the server makes of it shows when the next one is served.
fn send(path: &Path, bytes: &[u8]) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    // The server may have closed the connection already.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Checks that the server is alive: that it serves a good monitor.
fn assert_serves(server: &TestServer) {
    wait_until("the last one's end is seen", || server.state.stats().client.is_none());
    assert_eq!(Vmm::start(&server.path(), &[]).get(16).len(), 16);
}

#[test]
fn messages_that_make_no_sense_end_their_connection_alone() {
    let server = TestServer::counting();
    let other = TestServer::counting();
    let mut neighbour = Vmm::start(&other.path(), &[]);
    for bytes in [
        &b""[..],
        b"x",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0xff; 4096],
        &message(0, VERSION, 0, &[]),
        &message(u32::MAX, VERSION, 0, &[]),
        &message(GET_FEATURES, 0, 0, &[]),
        &message(GET_FEATURES, VERSION, u32::MAX, &[]),
        &message(GET_FEATURES, VERSION, 100, &[0; 50]),
        &message(SET_MEM_TABLE, VERSION, 8, &[0xff; 8]),
        &message(SET_MEM_TABLE, VERSION, 4, &[1; 4]),
        &message(SET_VRING_ADDR, VERSION, 40, &[0xff; 40]),
        &message(SET_VRING_ADDR, VERSION, 40, &[0; 40]),
        // A log of changes needs a feature that is not offered.
        &[
            message(SET_PROTOCOL_FEATURES, VERSION, 8, &[0xff; 8]),
            message(SET_LOG_BASE, VERSION, 16, &[0; 16]),
        ]
        .concat(),
    ] {
        send(&server.path(), bytes);
        assert_serves(&server);
        assert_eq!(neighbour.get(16).len(), 16);
    }
}

#[test]
fn random_messages_do_no_harm() {
    let server = TestServer::counting();
    let mut numbers = ChaCha20::from_seed(7);
    for _ in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..1 + numbers.next_u32() % 6 {
            let length = numbers.next_u32() % 65;
            let all = (0..length).map(|_| numbers.next_u32() as u8 & 0x11);
            let payload: Vec<u8> = all.collect();
            let flags = VERSION | (numbers.next_u32() & 8);
            bytes.extend(message(numbers.next_u32() % LAST, flags, length, &payload));
        }
        send(&server.path(), &bytes);
    }
    assert_serves(&server);
}

#[test]
fn files_that_are_no_memory_are_refused() {
    let server = TestServer::counting();
    let (pipe, _other_end) = rustix::pipe::pipe().unwrap();
    let folder = File::open("/").unwrap();
    let socket = UnixStream::pair().unwrap().0;
    let read_only = File::open("/proc/self/exe").unwrap();
    let files: [RawFd; 4] =
        [pipe.as_raw_fd(), folder.as_raw_fd(), socket.as_raw_fd(), read_only.as_raw_fd()];
    for file in files {
        let vmm = Vmm::connect(&server.path(), &[]);
        assert!(vmm.share(file, MEMORY).is_err());
        drop(vmm);
        assert_serves(&server);
    }
}

#[test]
fn memory_that_is_truncated_ends_no_process() {
    let server = TestServer::counting();
    let other = TestServer::counting();
    let mut neighbour = Vmm::start(&other.path(), &[]);
    let mut vmm = Vmm::start(&server.path(), &[]);
    assert_eq!(vmm.get(16).len(), 16);
    vmm.descriptor(0, BUFFER, 64, WRITE, 0);
    vmm.offer(0);
    ftruncate(&vmm.memory, 0).unwrap();
    vmm.kick();
    // It is answered after the server has looked at the queue: both take the queue's lock.
    std::thread::sleep(Duration::from_millis(50));
    let _ = vmm.frontend.get_vring_base(0);
    drop(vmm);
    assert_serves(&server);
    assert_eq!(neighbour.get(16).len(), 16);
}

#[test]
fn memory_that_is_truncated_before_the_queue_starts_ends_no_process() {
    let server = TestServer::counting();
    let mut vmm = Vmm::connect(&server.path(), &[]);
    vmm.share_memory();
    ftruncate(&vmm.memory, 0).unwrap();
    // The protocol's thread looks at the used ring.
    let _ = vmm.start_queue_at(0, 0x1000);
    drop(vmm);
    assert_serves(&server);
}

#[test]
fn memory_with_less_file_than_it_says_ends_no_process() {
    let server = TestServer::counting();
    let mut vmm = Vmm::connect(&server.path(), &[]);
    ftruncate(&vmm.memory, 0x3000).unwrap();
    vmm.share_memory();
    vmm.start_queue(0);
    vmm.descriptor(0, BUFFER, 64, WRITE, 0);
    vmm.offer(0);
    vmm.kick();
    std::thread::sleep(Duration::from_millis(50));
    drop(vmm);
    assert_serves(&server);
}

#[test]
fn rings_outside_of_memory_are_rejected_or_disable_the_queue() {
    let server = TestServer::counting();
    for available in [MEMORY, MEMORY - 2, MEMORY - 8, u64::MAX - 0x7000_0000] {
        let mut vmm = Vmm::connect(&server.path(), &[]);
        vmm.share_memory();
        let _ = vmm.start_queue_at(0, available);
        vmm.kick();
        drop(vmm);
        assert_serves(&server);
    }
}

#[test]
fn kicks_that_are_no_eventfd_cost_their_own_queue_alone() {
    use std::os::fd::{FromRawFd, IntoRawFd};
    let server = TestServer::counting();
    let (end, _other_end) = rustix::pipe::pipe().unwrap();
    let closed = rustix::pipe::pipe().unwrap().0;
    let file = tempfile::tempfile().unwrap();
    for raw in [end.into_raw_fd(), closed.into_raw_fd(), file.into_raw_fd()] {
        let mut vmm = Vmm::connect(&server.path(), &[]);
        vmm.share_memory();
        // SAFETY: the descriptor is open, and only used here.
        vmm.kick = unsafe { EventFd::from_raw_fd(raw) };
        let _ = vmm.start_queue_at(0, 0x1000);
        drop(vmm);
        assert_serves(&server);
    }
}

#[test]
fn a_driver_that_never_stops_asking_does_not_keep_the_server() {
    let mut server = TestServer::start(endless());
    let mut vmm = Vmm::start(&server.path(), &[]);
    vmm.ask(1);
    let done = Arc::new(AtomicBool::new(false));
    let asking = std::thread::spawn({
        let asker = vmm.asker();
        let done = Arc::clone(&done);
        move || {
            while !done.load(Ordering::Relaxed) {
                asker.fill_ring();
            }
        }
    });
    wait_until("the queue is busy", || vmm.answers() > 1000);
    // The thread of the queue has to see that it is to end.
    let begun = Instant::now();
    server.stop();
    done.store(true, Ordering::Relaxed);
    asking.join().unwrap();
    assert!(begun.elapsed() < SESSION_END, "it did not end by itself");
}

#[test]
fn a_vmm_that_stops_within_a_message_does_not_block_the_server() {
    let mut server = TestServer::counting();
    let mut stream = UnixStream::connect(server.path()).unwrap();
    stream.write_all(&message(SET_VRING_ADDR, VERSION, 40, &[])[..7]).unwrap();
    wait_until("it is connected", || server.state.stats().client.is_some());
    server.stop();
}

/// The log that a hostile driver causes has an end.
#[test]
fn a_driver_cannot_fill_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let log = File::create(folder.path().join("log")).unwrap();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_my-rng-server"))
        .args(["--transport", "vhost-user", "--socket-path"])
        .arg(&path)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    wait_until("it listens", || UnixStream::connect(&path).is_ok());
    let mut vmm = Vmm::start(&path, &[]);
    vmm.descriptor(0, MEMORY, 16, WRITE, 0);
    for _ in 0..500 {
        vmm.offer(0);
        vmm.kick();
        assert_eq!(vmm.answer(), (0, 0));
    }
    // Rings that make no sense are in the log of other crates, too.
    for _ in 0..500 {
        vmm.offer(u16::MAX);
        vmm.kick();
    }
    vmm.stop_queue();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("a request of the driver is rejected"), "{log}");
    assert!(log.lines().count() < 20, "{} lines", log.lines().count());
}

#[test]
fn a_queue_whose_size_is_no_power_of_two_is_refused_and_another_one_served() {
    let server = TestServer::counting();
    for size in [3, 1000] {
        let mut vmm = Vmm::connect(&server.path(), &[]);
        vmm.share_memory();
        assert!(vmm.start_queue_of(size, 0, AVAILABLE).is_err(), "{size}");
    }
    assert_eq!(Vmm::start(&server.path(), &[]).get(16), counted(0, 16));
}
