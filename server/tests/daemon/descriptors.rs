//! Descriptors that come with messages: none of them is kept without a use.

use std::os::fd::AsFd;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::common::*;
use crate::daemon::{BINARY, Daemon};

#[test]
fn commands_that_take_no_descriptors_are_answered_and_close_them() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.map(0, 4096, None);
    let open = daemon.descriptors();
    let null = dev_null();
    let commands = [
        (GET_INFO, info(16)),
        (GET_REGION_INFO, region_info(32, 0)),
        (GET_IRQ_INFO, irq_info(16, 0)),
        (REGION_READ, access(0, 0, 4)),
        (REGION_WRITE, region_write(0, 8, &[0; 4])),
        (REGION_WRITE_MULTI, vec![0; 8]),
        (DMA_UNMAP, dma_unmap(0, 0, 4096)),
        (DEVICE_FEATURE, set_migration_state(MIG_STOP_COPY)),
        (MIG_DATA_READ, mig_data_read(4)),
        (DEVICE_RESET, vec![]),
    ];
    for count in [1, 16, 17, 200] {
        for (command, payload) in &commands {
            if (*command, count) != (DMA_UNMAP, 1) {
                client.request_with(*command, payload, &vec![null.as_fd(); count]);
            } else {
                client.request_with(*command, payload, &[null.as_fd()]).ok();
            }
            assert_eq!(daemon.descriptors(), open, "command {command}, {count} descriptors");
        }
    }
    client.assert_in_sync();
}

#[test]
fn refused_messages_close_their_descriptors() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let open = daemon.descriptors();
    let null = dev_null();
    for (command, payload) in [
        (99, vec![0; 16]),
        (GET_INFO, vec![0; 3]),
        (DMA_MAP, vec![0; 31]),
        (DMA_MAP, dma_map(0, 0)),
        (SET_IRQS, vec![0; 19]),
        (SET_IRQS, set_irqs(TRIGGER | DATA_EVENTFD, MSIX, 0, 1, &[])),
        (VERSION, version(0, 1, b"")),
        (DMA_READ, vec![0; 16]),
        (DEVICE_FEATURE, vec![0; 8]),
        (MIG_DATA_WRITE, vec![0; 8]),
    ] {
        client.refused_with(command, &payload, &[null.as_fd(); 3]);
        assert_eq!(daemon.descriptors(), open, "command {command}");
    }
}

#[test]
fn posted_and_unasked_messages_close_their_descriptors() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let open = daemon.descriptors();
    let null = dev_null();
    client.post(DMA_MAP, &dma_map(0, 0), &[null.as_fd(); 2]);
    client.post(REGION_WRITE, &region_write(0, 8, &[0; 4]), &[null.as_fd()]);
    client.send_with_flags(DMA_READ, REPLY, &[0; 32], &[null.as_fd(); 16]);
    assert_eq!(client.receive().errno(), Errno::INVAL);
    client.assert_in_sync();
    assert_eq!(daemon.descriptors(), open);
}

#[test]
fn descriptors_with_every_byte_of_a_message_are_closed() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let open = daemon.descriptors();
    let null = dev_null();
    for command in [GET_INFO, DMA_MAP] {
        for byte in message(1, command, &dma_map(0, 4096)) {
            client.send_raw(&[byte], &[null.as_fd(); 5]);
        }
        client.receive();
    }
    client.assert_in_sync();
    assert_eq!(daemon.descriptors(), open);
}

#[test]
fn a_client_that_goes_takes_its_descriptors_and_maps_along() {
    let daemon = Daemon::start(&[]);
    daemon.client().assert_in_sync();
    let idle = daemon.client();
    let open = daemon.descriptors();
    drop(idle);
    let mut client = daemon.client();
    client.map(0, 4096, Some(&memory(4096)));
    let event = event();
    let set = set_irqs(TRIGGER | DATA_EVENTFD, REQ, 0, 1, &[]);
    client.request_with(SET_IRQS, &set, &[event.as_fd()]).ok();
    // The eventfd, and the memory's file: a process that takes this one's place needs it.
    assert_eq!((daemon.descriptors(), daemon.guest_maps()), (open + 2, 1));
    drop(client);
    let _next = daemon.client();
    assert_eq!((daemon.descriptors(), daemon.guest_maps()), (open, 0));
}

#[test]
fn a_client_that_goes_within_a_message_leaves_none_behind() {
    let daemon = Daemon::start(&[]);
    let idle = daemon.client();
    let open = daemon.descriptors();
    drop(idle);
    let map = message(1, DMA_MAP, &dma_map(0, 4096));
    for cut in [1, 15, 16, 17, 32, 47] {
        let client = daemon.client();
        client.send_raw(&map[..cut], &[memory(4096).as_fd()]);
        drop(client);
        let _next = daemon.client();
        assert_eq!((daemon.descriptors(), daemon.guest_maps()), (open, 0), "cut after {cut}");
    }
}

#[test]
fn a_closed_pipe_as_guest_memory_is_refused() {
    let daemon = Daemon::start(&[]);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(writer);
    let to_read = dma_map_with(1, 0, 0, 4096);
    let errno = daemon.client().refused_with(DMA_MAP, &to_read, &[reader.as_fd()]);
    assert_eq!(errno, Errno::NODEV);
}

#[test]
fn the_clients_own_socket_as_a_descriptor_does_no_harm() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let copy = client.socket().try_clone_to_owned().unwrap();
    client.request_with(GET_INFO, &info(16), &[copy.as_fd()]).ok();
    assert!(client.request_with(DMA_MAP, &dma_map(0, 4096), &[copy.as_fd()]).error != 0);
    client.assert_in_sync();
    drop((client, copy));
    daemon.client().assert_in_sync();
}

#[test]
fn descriptors_that_the_process_may_not_open_are_refused_with_what_to_do() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let limit = |descriptors: u64| {
        let new = Rlimit { current: Some(descriptors), maximum: Some(1 << 12) };
        prlimit(Pid::from_raw(daemon.pid() as i32), Resource::Nofile, new).unwrap();
    };
    let event = event();
    let set = set_irqs(TRIGGER | DATA_EVENTFD, REQ, 0, 1, &[]);
    // The lowest number that is free is the next one's.
    let open = |number: &u64| daemon_has_open(&daemon, *number);
    limit((0..).find(|number| !open(number)).unwrap());
    assert_eq!(client.refused_with(SET_IRQS, &set, &[event.as_fd()]), Errno::MFILE);
    let map = dma_map(0, 4096);
    assert_eq!(client.refused_with(DMA_MAP, &map, &[memory(4096).as_fd()]), Errno::MFILE);
    daemon.wait_for_log("raise its hard limit (LimitNOFILE= of a service");
    limit(1 << 12);
    client.request_with(SET_IRQS, &set, &[event.as_fd()]).ok();
}

fn daemon_has_open(daemon: &Daemon, number: u64) -> bool {
    std::fs::symlink_metadata(format!("/proc/{}/fd/{number}", daemon.pid())).is_ok()
}

/// Runs the daemon with those limits of descriptors.
fn limited(limits: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{limits}; exec \"$0\" \"$@\""), BINARY]);
    command
}

#[test]
fn the_soft_limit_is_no_limit() {
    let daemon = Daemon::start_under(&mut limited("ulimit -S -n 40"), &["-c", "100"]);
    let clients = (0..100).map(|number| Client::negotiated(&daemon.file(&format!("s{number}"))));
    clients.collect::<Vec<_>>().iter_mut().for_each(Client::assert_in_sync);
}

#[test]
fn sockets_that_do_not_fit_into_the_hard_limit_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = limited("ulimit -n 40");
    let output = command.arg("-s").arg(folder.path().join("s")).args(["-c", "100"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Too many open files"), "{said}");
    assert!(said.contains("; this process may open no more file descriptors: raise"), "{said}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "no socket is left");
}
