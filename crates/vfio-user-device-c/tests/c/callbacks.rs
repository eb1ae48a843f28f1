//! Every function of `vfio_user_device.h`, and every callback.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::common::{
    Client, DATA_EVENTFD, DEVICE_RESET, INTX, MSI, SET_IRQS, TRIGGER, event, memory, set_irqs,
    signals, wait_until,
};
use crate::compiler::{compile_with_kit, test_device};
use crate::program::Program;

const COMMAND: u64 = 0x0;
const RESULT: u64 = 0x4;
const LOG: u64 = 0x8;
const ADDRESS: u64 = 0x10;
const STATE: u64 = 0x18;

fn device() -> &'static Path {
    static DEVICE: OnceLock<PathBuf> = OnceLock::new();
    DEVICE.get_or_init(|| {
        compile_with_kit("cc", &test_device("callbacks.c"), "callbacks", &["-D_GNU_SOURCE"])
    })
}

/// The letter of the last callback.
fn last(client: &mut Client) -> char {
    char::from(client.read(0, LOG, 1)[0])
}

fn result(client: &mut Client) -> i32 {
    i32::from_le_bytes(client.read(0, RESULT, 4).try_into().unwrap())
}

/// Gives a command at an address of guest memory.
fn command(client: &mut Client, letter: char, address: u32) {
    client.write_u32(0, ADDRESS, address);
    client.write_u32(0, COMMAND, letter as u32);
}

#[track_caller]
fn wait_for(client: &mut Client, letter: char) {
    wait_until("the callback", || last(client) == letter);
}

#[test]
fn the_configuration_is_what_the_guest_finds() {
    let program = Program::serve(device(), &[]);
    let mut client = program.client();
    assert_eq!(client.read(7, 0, 4), [0x34, 0x12, 0xc0, 0x00]);
    assert_eq!(client.read(7, 8, 4), [3, 0x00, 0x80, 0x08]);
    assert_eq!(client.read(7, 0x2c, 4), [0x78, 0x56, 0x01, 0x00]);
    assert_eq!(client.read(7, 0x3d, 1), [1]);
    for (bar, size) in [(0, 256), (2, 4096), (4, 32)] {
        assert_eq!(client.read(bar, 0, size).len(), size as usize);
    }
    let ids = std::iter::successors(Some(client.read(7, 0x34, 1)[0]), |at| {
        let next = client.read(7, u64::from(*at) + 1, 1)[0];
        (next != 0).then_some(next)
    });
    let places: Vec<u8> = ids.collect();
    let ids: Vec<u8> = places.iter().map(|at| client.read(7, u64::from(*at), 1)[0]).collect();
    assert_eq!(ids, [0x11, 0x05, 0x09]);
    assert_eq!(client.read(7, u64::from(places[2]) + 2, 4), [6, b'h', b'i', 0]);
}

#[test]
fn callbacks_come_when_their_time_has_come() {
    let program = Program::serve(device(), &[]);
    let mut client = program.client();
    client.request(DEVICE_RESET, &[]).ok();
    assert_eq!(last(&mut client), 'z');
    for letter in ['t', 'k'] {
        command(&mut client, letter, 0);
        wait_for(&mut client, letter);
    }
    command(&mut client, 'l', 0);
    program.wait_for_log("a line of the device");
    drop(client);
    let mut client = program.client();
    assert_eq!(last(&mut client), 'd');
    assert_eq!(client.read(0, LOG, 8)[..4], [b'd', b'k', b't', b'z'], "and no other timer");
}

#[test]
fn guest_memory_is_reached_at_once_and_later() {
    let program = Program::serve(device(), &[]);
    let mut client = program.client();
    let ram = memory(4096);
    client.map(0x1000, 4096, Some(&ram));
    client.map(0x8000, 4096, None);
    command(&mut client, 'R', 0x1000);
    assert_eq!(result(&mut client), -libc_errno("EPERM"), "no bus master yet");
    client.write(7, 4, &[0x06, 0]);
    command(&mut client, 'W', 0x1000);
    assert_eq!(result(&mut client), 0);
    command(&mut client, 'R', 0x1000);
    assert_eq!(result(&mut client), 0x1122_3344);
    for (address, errno) in [(0x8000, "ENOTSUP"), (0x4000, "EFAULT")] {
        command(&mut client, 'R', address);
        assert_eq!(result(&mut client), -libc_errno(errno), "{address:#x}");
    }
    program.wait_for_log("guest memory at 0x8000 is not shared; give QEMU memory with share=on");
    rustix::io::pwrite(&ram, &7_u32.to_le_bytes(), 4).unwrap();
    command(&mut client, 'c', 0x1004);
    command(&mut client, 'r', 0x1004);
    wait_for(&mut client, 'r');
    assert_eq!(result(&mut client), 7);
    command(&mut client, 'w', 0x1004);
    wait_for(&mut client, 'w');
    let mut bytes = [0; 4];
    rustix::io::pread(&ram, &mut bytes, 4).unwrap();
    assert_eq!(u32::from_le_bytes(bytes), 0x1122_3344);
    command(&mut client, 'r', 0x4000);
    wait_for(&mut client, 'r');
    assert_eq!(result(&mut client), -libc_errno("EFAULT"));
}

/// The number of an errno by its name.
fn libc_errno(name: &str) -> i32 {
    use rustix::io::Errno;
    let errno = match name {
        "EPERM" => Errno::PERM,
        "EFAULT" => Errno::FAULT,
        "ENOTSUP" => Errno::OPNOTSUPP,
        _ => panic!("{name}"),
    };
    errno.raw_os_error()
}

#[test]
fn interrupts_reach_the_client() {
    let program = Program::serve(device(), &[]);
    let mut client = program.client();
    let pin = event();
    let message = set_irqs(DATA_EVENTFD | TRIGGER, INTX, 0, 1, &[]);
    client.request_with(SET_IRQS, &message, &[pin.as_fd()]).ok();
    command(&mut client, 'i', 0);
    assert_eq!(signals(&pin), 1);
    command(&mut client, 'I', 0);
    assert_eq!(client.read(0, STATE, 2), [0, 0]);
    let vectors = [event(), event()];
    let message = set_irqs(DATA_EVENTFD | TRIGGER, MSI, 0, 2, &[]);
    client.request_with(SET_IRQS, &message, &vectors.each_ref().map(AsFd::as_fd)).ok();
    assert_eq!(client.read(0, STATE, 2), [0, 1]);
    // Two vectors are allowed.
    let msi = 0x4c;
    client.write(7, msi + 2, &[0x11, 0]);
    command(&mut client, 'm', 0);
    assert_eq!(vectors.each_ref().map(signals), [0, 1]);
}

#[test]
fn the_loop_serves_until_its_descriptor_is_readable() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let start = |path: &Path| {
        let mut command = Command::new(device());
        command.arg("--loop").arg(path).stdin(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut child = start(&socket);
    wait_until("it listens", || UnixStream::connect(&socket).is_ok());
    Client::negotiated(&socket).read(0, 0, 4);
    let second = start(&socket).wait_with_output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.starts_with("ended with -98: "), "EADDRINUSE: {said}");
    assert!(said.contains("is in use by a running process"), "{said}");
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "ended with 0: \n");
    assert!(!socket.exists(), "the socket goes with the loop");
}

#[test]
fn a_state_goes_to_the_process_that_takes_its_place() {
    let mut program = Program::serve(device(), &[]);
    let client = &mut program.client();
    client.write_u32(0, ADDRESS, 'b' as u32);
    let why = program.refused_exchange();
    assert!(why.ends_with("socket over: the device is busy"), "{why}");
    command(client, 't', 0x1234_5678);
    wait_for(client, 't');
    program.exchange();
    // Its restore has waited for a wake-up.
    wait_for(client, 'k');
    assert_eq!(client.read(0, LOG, 8)[1], b't', "what was before is there, too");
    assert_eq!(client.read_u32(0, ADDRESS), 0x1234_5678);
}
