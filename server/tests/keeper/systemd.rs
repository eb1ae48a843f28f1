//! What systemd sees of a daemon with a keeper: this test plays its part.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use my_rng_model::generator::{Generator, Glibc};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::common::*;
use crate::daemon::{BINARY, Daemon};
use crate::kept::Kept;

/// A daemon with a keeper whose socket systemd has passed, and what it says to systemd.
fn activated() -> (Kept, UnixDatagram) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("s")).unwrap();
    let notifications = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    notifications.set_read_timeout(Some(RECEIVE_TIMEOUT)).unwrap();
    // The variable names the process that the service is.
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", BINARY, "--keeper", "-v"]);
    command.args(["--generator", "glibc", "--seed", "1"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "vm1");
    command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let mapping = FdMapping { parent_fd: listener.into(), child_fd: 3 };
    command.fd_mappings(vec![mapping]).unwrap();
    (Kept::of(Daemon::launch(&mut command, folder)), notifications)
}

fn notification(notifications: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = notifications.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
}

#[test]
fn a_passed_socket_is_served_over_crashes_and_a_reload() {
    let (server, notifications) = activated();
    assert_eq!(notification(&notifications), "READY=1");
    let mut client = server.client();
    let mut numbers = Glibc::from_seed(1);
    for _ in 0..3 {
        assert_eq!(client.read_u32(0, 0), numbers.next_u32());
        server.crash();
    }
    assert_eq!(client.read_u32(0, 0), numbers.next_u32());
    // As `systemctl reload` does.
    let keeper = server.daemon().pid().to_string();
    let output = Command::new(BINARY).args(["exchange", "--pid", &keeper]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // Each process says that it is ready.
    let mut said = notification(&notifications);
    while said == "READY=1" {
        said = notification(&notifications);
    }
    let main = said.strip_prefix("MAINPID=").unwrap_or_else(|| panic!("{said}"));
    assert_ne!(main, keeper);
    assert_eq!(client.read_u32(0, 0), numbers.next_u32());
    // As `systemctl stop` does: the other keeper ends with its daemon.
    let main = Pid::from_raw(main.parse().unwrap()).unwrap();
    kill_process(main, Signal::TERM).unwrap();
    assert!(client.next().is_none(), "the client is disconnected");
    wait_until("the other keeper ends", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", main.as_raw_nonzero()));
        test_kill_process(main).is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    });
}

/// What systemd's descriptor store is given: its name and the descriptor.
fn stored(notifications: &UnixDatagram) -> (String, OwnedFd) {
    loop {
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received =
            recvmsg(notifications, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        if let Some(fd) = fds.flatten().next() {
            return (String::from_utf8_lossy(&buffer[..received.bytes]).into_owned(), fd);
        }
    }
}

#[test]
fn a_restart_of_the_service_keeps_the_clients_in_systemds_store() {
    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let notifications = UnixDatagram::bind(&notify).unwrap();
    notifications.set_read_timeout(Some(RECEIVE_TIMEOUT)).unwrap();
    let start = |fd: Option<OwnedFd>| {
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", BINARY, "--keeper", "-v"]);
        command.args(["--generator", "glibc", "--seed", "1", "--socket-path"]);
        command.arg(folder.path().join("s")).arg("--control-socket");
        command.arg(folder.path().join("control"));
        command.env("NOTIFY_SOCKET", &notify).env("FDSTORE", "1");
        if let Some(parent_fd) = fd {
            command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "exchange");
            command.fd_mappings(vec![FdMapping { parent_fd, child_fd: 3 }]).unwrap();
        }
        command.stdin(Stdio::null());
        command.spawn().unwrap()
    };
    let mut numbers = Glibc::from_seed(1);
    let mut service = start(None);
    assert_eq!(notification(&notifications), "READY=1");
    let mut client = Client::negotiated(&folder.path().join("s"));
    for _ in 0..3 {
        assert_eq!(client.read_u32(0, 0), numbers.next_u32());
        kill_process(Pid::from_child(&service), Signal::TERM).unwrap();
        let (text, fd) = stored(&notifications);
        assert!(text.contains("FDSTORE=1\nFDNAME=exchange\nFDPOLL=0"), "{text}");
        assert!(service.wait().unwrap().success());
        // The guest asks while there is no server.
        let id = client.send(REGION_READ, &access(0, 0, 4), &[]);
        service = start(Some(fd));
        let reply = client.receive();
        assert_eq!(reply.id, id);
        assert_eq!(reply.ok()[16..], numbers.next_u32().to_le_bytes());
    }
    drop(client);
    // Without a client there is nothing to keep.
    let mut client = Client::negotiated(&folder.path().join("s"));
    client.assert_in_sync();
    drop(client);
    kill_process(Pid::from_child(&service), Signal::KILL).unwrap();
    service.wait().unwrap();
}
