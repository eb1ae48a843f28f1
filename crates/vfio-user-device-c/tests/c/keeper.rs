//! A keeper starts the program of a device in C again: its threads, timers and transfers go on.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::common::{Bytes, Client, INTX, MSI, memory, signals, wait_readable};
use crate::compiler::{checkout, compile, test_device};
use crate::edu::interrupt;
use crate::program::Program;

const FACTORIAL: u64 = 0x08;
const STATUS: u64 = 0x20;
const CAUSES: u64 = 0x24;
const ACKNOWLEDGE: u64 = 0x64;
const TRANSFER: u64 = 0x80;
const ROUNDS: u32 = 10;

fn kept(source: &Path) -> Program {
    Program::serve(&compile(source), &["--keeper", "-v"])
}

fn edu() -> Program {
    kept(&checkout().join("qemu-device/examples/edu.c"))
}

/// Acknowledges an interrupt that has come with this cause. Others may come without one: what was
/// signalled just before a kill is signalled again.
fn acknowledge(client: &mut Client, event: &OwnedFd, cause: u32) {
    let mut found = 0;
    while found == 0 {
        wait_readable(event, "the interrupt");
        signals(event);
        found = client.read_u32(0, CAUSES);
    }
    assert_eq!(found, cause);
    client.write_u32(0, ACKNOWLEDGE, cause);
}

#[test]
fn a_thread_that_computes_begins_again_after_a_kill_and_its_interrupt_comes() {
    let mut program = edu();
    let client = &mut program.client();
    let vector = interrupt(client, MSI);
    client.write_u32(0, STATUS, 0x80);
    // Around the moment at which the thread is done: it takes longer and longer.
    for round in 0..ROUNDS {
        client.write_u32(0, FACTORIAL, round << 20 | 2);
        sleep(Duration::from_millis(u64::from(round % 4)));
        program.kill();
        acknowledge(client, &vector, 1);
        let expected = if round == 0 { 2 } else { 0 };
        assert_eq!(client.read_u32(0, FACTORIAL), expected, "{}", program.log());
        assert_eq!(client.read_u32(0, STATUS), 0x80);
    }
}

#[test]
fn a_level_that_was_raised_before_a_kill_stays_until_it_is_acknowledged() {
    let mut program = edu();
    let client = &mut program.client();
    let pin = interrupt(client, INTX);
    client.write_u32(0, 0x60, 6);
    program.kill();
    program.kill();
    acknowledge(client, &pin, 6);
    program.kill();
    assert_eq!(client.read_u32(0, CAUSES), 0);
    assert_eq!(client.read(7, 6, 1)[0] & 8, 0, "the pin is down");
}

#[test]
fn a_transfer_that_was_under_way_moves_all_its_bytes_after_kills() {
    let mut program = edu();
    let client = &mut program.client();
    let ram = memory(0x10000);
    client.map(0, 0x10000, Some(&ram));
    client.write(7, 4, &[6, 0]);
    let vector = interrupt(client, MSI);
    for round in 0..4_u8 {
        let sent = [round + 1; 64];
        rustix::io::pwrite(&ram, &sent, 0x100).unwrap();
        for (source, destination, command) in [(0x100, 0x40000, 5_u64), (0x40000, 0x200, 7)] {
            for (index, value) in [source, destination, 64, command].into_iter().enumerate() {
                client.write(0, TRANSFER + 8 * index as u64, &Bytes::new().u64(value).0);
            }
            // At its beginning, and where it is about to end.
            program.kill();
            sleep(Duration::from_millis(85 + 5 * u64::from(round)));
            program.kill();
            acknowledge(client, &vector, 0x100);
        }
        let mut received = [0; 64];
        rustix::io::pread(&ram, &mut received, 0x200).unwrap();
        assert_eq!(received, sent, "{}", program.log());
    }
}

#[test]
fn a_device_whose_code_ends_it_and_that_has_no_state_is_down_and_its_client_stays() {
    let program = kept(&test_device("faulty.c"));
    let client = &mut program.client();
    assert_eq!(client.read_u32(0, 0), 7);
    client.write_u32(0, 0x0c, 1);
    assert_eq!(client.read_u32(0, 0), u32::MAX);
    program.wait_for_log("the device has no save and restore");
    assert!(program.log().contains("was killed by signal 6"), "{}", program.log());
}
