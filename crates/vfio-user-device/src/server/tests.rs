//! Socket files, and descriptors that are passed.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use super::*;
use crate::{Access, Bus, Device, DeviceConfig, Identity};

struct Nothing;

impl Device for Nothing {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(1, 2))
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}
}

fn bind(path: &Path) -> Result<Server, ServerError> {
    Server::bind(path, Nothing, Options::default())
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("exactly this name");
    let server = bind(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    bind(&path).unwrap();
}

#[test]
fn of_servers_that_start_at_once_one_gets_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    for _ in 0..20 {
        drop(UnixListener::bind(&path).unwrap());
        let starts: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn({
                    let path = path.clone();
                    move || bind(&path)
                })
            })
            .collect();
        let servers: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert_eq!(servers.iter().filter(|server| server.is_ok()).count(), 1);
        assert!(UnixStream::connect(&path).is_ok(), "the one that is left is alive");
        drop(servers);
        assert!(!path.exists());
    }
}

#[test]
fn a_served_socket_and_other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let first = bind(&path).unwrap();
    assert!(matches!(bind(&path), Err(ServerError::InUse(_))));
    drop(first);
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path), Err(ServerError::NotASocket(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(bind(&link), Err(ServerError::NotASocket(_))));
}

#[test]
fn paths_no_socket_can_have_are_named_in_the_error() {
    let long = "x".repeat(200);
    let error = bind(Path::new(&long)).unwrap_err().to_string();
    assert!(error.contains(&long), "{error}");
    assert!(bind(Path::new("/nonexistent/s")).is_err());
}

#[test]
fn another_servers_socket_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let first = bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _second = bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
}

fn refusal_of(descriptor: impl Into<OwnedFd>) -> String {
    Server::from_listener(descriptor, Nothing, Options::default()).unwrap_err().to_string()
}

#[test]
fn a_listening_socket_that_was_passed_is_served_and_its_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    drop(Server::from_listener(listener, Nothing, Options::default()).unwrap());
    assert!(path.exists());
}

#[test]
fn what_cannot_be_listened_on_is_named_in_the_error() {
    let null = std::fs::File::open("/dev/null").unwrap();
    let number = null.as_raw_fd();
    let error = refusal_of(null);
    assert!(error.starts_with(&format!("descriptor {number} is /dev/null, which is no socket;")));
    let (connected, _other) = UnixStream::pair().unwrap();
    assert!(refusal_of(connected).contains("does not listen"));
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    assert!(refusal_of(datagram).contains("datagram"));
    let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    assert!(refusal_of(tcp).contains("AF_UNIX"));
}
