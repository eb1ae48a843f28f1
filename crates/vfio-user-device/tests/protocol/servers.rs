//! Many servers in one process: what one of them, or its client, does costs the others nothing.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use vfio_user_device::server::{
    AdmissionError, AdmissionPolicy, Options, Server, ServerKey, ServerSet, ServerState,
};
use vfio_user_device::{Access, Bar, Bus, Device, DeviceConfig, Identity};

use crate::common::*;
use crate::device::{Everything, SCRATCH};

/// ServerSet that run, until the value goes.
struct Running {
    folder: TempDir,
    servers: ServerSet,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn new() -> Self {
        let servers = ServerSet::new().unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let run = servers.clone();
        let thread = thread::spawn(move || run.run(stopped.as_fd()).unwrap());
        let folder = tempfile::tempdir().unwrap();
        Running { folder, servers, stop: Some(stop), thread: Some(thread) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self, name: &str, device: impl Device + 'static) -> Server {
        Server::bind(&self.path(name), device, Options::default()).unwrap()
    }

    fn add(&self, name: &str, device: impl Device + 'static) -> ServerKey {
        self.servers.add(self.server(name, device)).unwrap()
    }

    fn client(&self, name: &str) -> Client {
        Client::negotiated(&self.path(name))
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop();
        }
    }
}

/// What VERSION is answered with.
fn rejection(client: &mut Client) -> Errno {
    client.request(VERSION, &version(0, 1, QEMU_PROPOSAL)).errno()
}

/// A device that hangs in a write for as long as its creator wants.
struct Stuck(Arc<Hold>);

#[derive(Default)]
struct Hold {
    let_go: Mutex<bool>,
    changed: Condvar,
    held: AtomicBool,
}

impl Hold {
    fn let_go(&self) {
        *self.let_go.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

impl Device for Stuck {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(1, 2)).bar(0, Bar::memory32(4096))
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {
        self.0.held.store(true, Ordering::SeqCst);
        let waiting = self.0.let_go.lock().unwrap();
        drop(self.0.changed.wait_while(waiting, |let_go| !*let_go).unwrap());
    }
}

impl Running {
    /// Adds a server whose session hangs, and whose client has gone.
    fn add_stuck(&self, name: &str, hold: &Arc<Hold>) -> ServerKey {
        hold.held.store(false, Ordering::SeqCst);
        let key = self.add(name, Stuck(Arc::clone(hold)));
        let mut client = self.client(name);
        client.send(REGION_WRITE, &region_write(0, 0, &[0; 4]), &[]);
        wait_until("the device hangs", || hold.held.load(Ordering::SeqCst));
        key
    }
}

#[test]
fn each_server_has_a_device_of_its_own() {
    let servers = Running::new();
    for name in ["a", "b"] {
        servers.add(name, Everything::default());
    }
    servers.client("a").write_u32(0, SCRATCH, 7);
    assert_eq!(servers.client("b").read_u32(0, SCRATCH), 0);
    assert_eq!(servers.client("a").read_u32(0, SCRATCH), 7);
}

#[test]
fn clients_stay_while_other_servers_come_and_go() {
    let servers = Running::new();
    servers.add("stays", Everything::default());
    let mut client = servers.client("stays");
    for _ in 0..20 {
        let key = servers.add("goes", Everything::default());
        let mut other = servers.client("goes");
        other.assert_in_sync();
        servers.servers.remove(&[key]);
        other.assert_closed();
        assert!(!servers.path("goes").exists());
        client.assert_in_sync();
    }
}

#[test]
fn removing_a_server_twice_removes_no_other() {
    let servers = Running::new();
    let key = servers.add("s", Everything::default());
    servers.servers.remove(&[key]);
    servers.add("s", Everything::default());
    servers.servers.remove(&[key]);
    servers.client("s").assert_in_sync();
}

#[test]
fn servers_that_are_stopped_take_clients_and_socket_files_along() {
    let mut servers = Running::new();
    let names: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    let mut clients: Vec<_> = names
        .iter()
        .map(|name| {
            servers.add(name, Everything::default());
            servers.client(name)
        })
        .collect();
    servers.stop();
    clients.iter_mut().for_each(Client::assert_closed);
    assert_eq!(servers.folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn sessions_that_hang_are_waited_for_together() {
    let servers = Running::new();
    let hold = Arc::new(Hold::default());
    let keys: Vec<_> = (0..20).map(|n| servers.add_stuck(&n.to_string(), &hold)).collect();
    let start = Instant::now();
    servers.servers.remove(&keys);
    // One after the other would be 20 s.
    assert!(start.elapsed() < Duration::from_secs(10));
    hold.let_go();
}

#[test]
fn devices_that_hang_do_not_keep_another_servers_client_waiting() {
    let servers = Running::new();
    let hold = Arc::new(Hold::default());
    let stuck: Vec<_> = (0..5).map(|number| number.to_string()).collect();
    for name in &stuck {
        servers.add_stuck(name, &hold);
    }
    servers.add("other", Everything::default());
    let mut waiting: Vec<_> = stuck
        .iter()
        .map(|name| {
            let mut client = Client::connect(&servers.path(name));
            client.send(VERSION, &version(0, 1, QEMU_PROPOSAL), &[]);
            client
        })
        .collect();
    servers.client("other").assert_in_sync();
    // Each has a second for its predecessor to end. If another client waited through that, the
    // first would be rejected by now.
    assert!(waiting.iter().all(Client::is_quiet));
    for client in &mut waiting {
        assert_eq!(client.receive().errno(), Errno::BUSY);
        client.assert_closed();
    }
    hold.let_go();
    servers.client(&stuck[0]).assert_in_sync();
}

#[test]
fn a_client_that_waits_for_its_predecessor_is_served_by_the_device() {
    let servers = Running::new();
    let hold = Arc::new(Hold::default());
    servers.add_stuck("s", &hold);
    let mut waiting = Client::connect(&servers.path("s"));
    waiting.send(VERSION, &version(0, 1, QEMU_PROPOSAL), &[]);
    let mut surplus = Client::connect(&servers.path("s"));
    assert_eq!(rejection(&mut surplus), Errno::BUSY, "one waits at a time");
    hold.let_go();
    waiting.receive().ok();
    waiting.assert_in_sync();
}

#[test]
fn a_flood_of_connections_is_limited_and_delays_no_other_socket() {
    let servers = Running::new();
    let flooded = servers.server("flooded", Everything::default());
    let watch = flooded.state();
    servers.servers.add(flooded).unwrap();
    servers.add("other", Everything::default());
    let flooding = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while flooding.load(Ordering::SeqCst) {
                    let _ = UnixStream::connect(servers.path("flooded"));
                }
            });
        }
        let came = |watch: &ServerState| watch.stats().admitted + watch.stats().rejected;
        wait_until("clients come", || came(&watch) > 0);
        let (start, before) = (Instant::now(), came(&watch));
        for _ in 0..100 {
            servers.client("other").assert_in_sync();
        }
        wait_until("the flood has met its limit", || start.elapsed() > Duration::from_millis(300));
        let (elapsed, accepted) = (start.elapsed(), came(&watch) - before);
        flooding.store(false, Ordering::SeqCst);
        let windows = elapsed.as_millis() as u64 / 100 + 2;
        assert!(accepted <= windows * 100, "{accepted} in {elapsed:?}");
    });
    servers.client("flooded").assert_in_sync();
}

/// A policy that counts, and rejects clients at times.
#[derive(Default)]
struct Counting {
    closed: AtomicBool,
    admitted: AtomicU32,
    left: AtomicU32,
}

impl AdmissionPolicy for Counting {
    fn admit(&self) -> Result<(), AdmissionError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(AdmissionError::new("closed"));
        }
        self.admitted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn release(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counting {
    fn counts(&self) -> (u32, u32) {
        (self.admitted.load(Ordering::SeqCst), self.left.load(Ordering::SeqCst))
    }
}

#[test]
fn a_client_that_the_policy_rejects_gets_eusers_and_the_next_is_admitted() {
    let servers = Running::new();
    let policy = Arc::new(Counting::default());
    let guarded = Arc::clone(&policy) as Arc<dyn AdmissionPolicy>;
    let server = servers.server("s", Everything::default()).with_admission_policy(guarded);
    let watch = server.state();
    let key = servers.servers.add(server).unwrap();

    policy.closed.store(true, Ordering::SeqCst);
    for count in 1..=3 {
        let mut rejected = Client::connect(&servers.path("s"));
        assert_eq!(rejection(&mut rejected), Errno::USERS);
        rejected.assert_closed();
        assert_eq!((watch.stats().rejected, watch.stats().client), (count, None));
    }
    assert_eq!(policy.counts(), (0, 0));

    policy.closed.store(false, Ordering::SeqCst);
    let client = servers.client("s");
    assert_eq!(policy.counts(), (1, 0));
    drop(client);
    wait_until("the policy hears that it has gone", || policy.counts() == (1, 1));

    let _client = servers.client("s");
    servers.servers.remove(&[key]);
    assert_eq!(policy.counts(), (2, 2), "it hears before the removal is over");
}

#[test]
fn a_watch_tells_who_is_connected_and_how_many_came() {
    let servers = Running::new();
    let server = servers.server("s", Everything::default());
    let watch = server.state();
    servers.servers.add(server).unwrap();
    let seen = |watch: &ServerState| (watch.stats().admitted, watch.stats().rejected);
    assert_eq!((watch.stats().client, seen(&watch)), (None, (0, 0)));
    let client = servers.client("s");
    let connected = watch.stats().client.unwrap();
    assert_eq!(connected.process, i32::try_from(std::process::id()).ok());
    assert!(connected.since.elapsed().unwrap() < RECEIVE_TIMEOUT);
    assert_eq!(rejection(&mut Client::connect(&servers.path("s"))), Errno::BUSY);
    assert_eq!(seen(&watch), (1, 1));
    drop(client);
    wait_until("the client has gone", || watch.stats().client.is_none());
    assert_eq!(seen(&watch), (1, 1));
}

#[test]
fn a_socket_of_a_removed_server_that_is_open_elsewhere_costs_no_processor_time() {
    let servers = ServerSet::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passed");
    let socket = UnixListener::bind(&path).unwrap();
    let passed = socket.try_clone().unwrap();
    let server = Server::from_listener(passed, Everything::default(), Options::default());
    let key = servers.add(server.unwrap()).unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    let run = servers.clone();
    let thread = thread::spawn(move || {
        run.run(stopped.as_fd()).unwrap();
        let used = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
    });
    servers.remove(&[key]);
    let _client = UnixStream::connect(&path).unwrap();
    thread::sleep(Duration::from_millis(500));
    drop(stop);
    let used = thread.join().unwrap();
    assert!(used < Duration::from_millis(100), "{used:?} of 500 ms");
}
