//! Types with an ancestor, regions in regions, MSI-X, bottom halves, threads, reset, properties.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use crate::common::{
    Client, DATA_EVENTFD, DEVICE_RESET, MSIX, SET_IRQS, TRIGGER, event, set_irqs, wait_readable,
    wait_until,
};
use crate::compiler::{compile, test_device};
use crate::program::Program;

const NAME: u64 = 0x0;
const EVENTS: u64 = 0x4;
const COMMAND: u64 = 0x8;
const LANES: u64 = 0xc;
const SIZE: u64 = 0x10;

fn start(arguments: &[&str]) -> Program {
    Program::serve(&compile(&test_device("features.c")), arguments)
}

/// Connects eventfds to the vectors.
fn vectors(client: &mut Client) -> [OwnedFd; 3] {
    let vectors = [event(), event(), event()];
    let message = set_irqs(DATA_EVENTFD | TRIGGER, MSIX, 0, 3, &[]);
    client.request_with(SET_IRQS, &message, &vectors.each_ref().map(AsFd::as_fd)).ok();
    vectors
}

#[test]
fn one_of_several_types_is_chosen_by_its_name() {
    for (name, number, revision) in [("first", 0x1111_1111, 1), ("second", 0x2222_2222, 2)] {
        let program = start(&["--type", name]);
        let mut client = program.client();
        assert_eq!(client.read_u32(0, NAME), number);
        assert_eq!(client.read_u32(1, NAME), number, "by ports");
        assert_eq!(client.read(7, 8, 1), [revision]);
    }
    let output = Command::new(compile(&test_device("features.c"))).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("  first\n") && said.contains("  second\n"), "{said}");
    assert!(said.contains("there are 2 PCI devices in this program; choose one with"), "{said}");
}

#[test]
fn regions_answer_inside_of_others() {
    let program = start(&["--type", "first", "--property", "label=abc"]);
    let mut client = program.client();
    let bytes: Vec<u8> = (0..=255).collect();
    client.write(0, 0x100, &bytes);
    assert_eq!(client.read(0, 0x100, 256), bytes);
    assert_eq!(client.read(0, 0x200, 128), bytes[128..], "by the alias");
    client.write(0, 0x300, &[7; 4]);
    assert_eq!(client.read(0, 0x300, 4), *b"abc\0", "read-only");
    assert_eq!(client.read(0, 0x400, 8), [0; 8], "nothing is there");
    assert_eq!(client.read(0, NAME, 2), [0; 2], "an invalid size");
    program
        .wait_for_log("guest error: read of 2 bytes at 0x0 of region \"registers\": invalid size");
}

#[test]
fn bottom_halves_threads_and_timers_reach_the_driver() {
    let program = start(&["--type", "first"]);
    let mut client = program.client();
    client.request(DEVICE_RESET, &[]).ok();
    assert_eq!(client.read_u32(0, EVENTS).to_be_bytes(), [0, 0, b'e', b'h']);
    let vectors = vectors(&mut client);
    assert_eq!(client.read_u32(0, COMMAND), 1, "MSI-X is enabled");
    client.write_u32(0, COMMAND, b'b'.into());
    wait_readable(&vectors[1], "the bottom half's vector");
    assert_eq!(client.read_u32(0, EVENTS).to_be_bytes(), *b"ehsb", "after the callback");
    client.write_u32(0, COMMAND, b'T'.into());
    wait_readable(&vectors[2], "the thread's vector");
    wait_until("the timer fires", || client.read_u32(0, EVENTS).to_be_bytes() == *b"sbTt");
}

#[test]
fn properties_have_defaults_and_values() {
    let program = start(&["--type=first"]);
    let mut client = program.client();
    assert_eq!(client.read_u32(0, LANES), 0x0008_0004);
    assert_eq!(client.read_u32(0, SIZE), 2 << 20);
    let settings = ["lanes=0x10", "size=3k", "loud=off", "fast=yes"];
    let settings = settings.map(|setting| format!("--property={setting}"));
    let mut arguments = vec!["--type=second"];
    arguments.extend(settings.iter().map(String::as_str));
    let program = start(&arguments);
    let mut client = program.client();
    assert_eq!(client.read_u32(0, LANES), 0x0110);
    assert_eq!(client.read_u32(0, SIZE), 3 << 10);
}
