//! The educational device of the examples: a thread, a timer, interrupts, transfers.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::common::{
    Bytes, Client, DATA_EVENTFD, DEVICE_RESET, INTX, MSI, SET_IRQS, TRIGGER, event, memory,
    set_irqs, signals, wait_readable, wait_until,
};
use crate::compiler::{checkout, compile};
use crate::program::Program;

const BUS_MASTER: [u8; 2] = [0x06, 0];
const DMA_COMMAND: u64 = 0x98;

fn example() -> Program {
    Program::serve(&compile(&checkout().join("qemu-device/examples/edu.c")), &[])
}

/// Connects an eventfd to an interrupt.
pub fn interrupt(client: &mut Client, index: u32) -> OwnedFd {
    let event = event();
    let message = set_irqs(DATA_EVENTFD | TRIGGER, index, 0, 1, &[]);
    client.request_with(SET_IRQS, &message, &[event.as_fd()]).ok();
    event
}

/// What a driver of any edu device sees, be it QEMU's own or ours.
pub fn exercise(program: &Program) {
    let client = &mut program.client();
    client.request(DEVICE_RESET, &[]).ok();
    assert_eq!(client.read_u32(0, 0), 0x0100_00ed);
    client.write_u32(0, 4, 0x1234_5678);
    assert_eq!(client.read_u32(0, 4), !0x1234_5678);
    assert_eq!(client.read(0, 0, 2), [0; 2], "narrower than valid");
    factorial(client);
    transfer(client);
}

/// A thread of the device computes, and raises INTx.
fn factorial(client: &mut Client) {
    // First: an interrupt of an earlier client would mask the pin.
    settle(client);
    let pin = interrupt(client, INTX);
    client.write_u32(0, 0x20, 0x80);
    client.write_u32(0, 0x08, 10);
    wait_readable(&pin, "the factorial's interrupt");
    assert_eq!(client.read_u32(0, 0x08), 3_628_800);
    assert_eq!(client.read_u32(0, 0x20), 0x80);
    assert_eq!(client.read_u32(0, 0x24), 1);
    client.write_u32(0, 0x64, 1);
    assert_eq!(client.read_u32(0, 0x24), 0);
    signals(&pin);
}

/// Nothing is computed for an earlier client any more, and no interrupt of it comes.
fn settle(client: &mut Client) {
    wait_until("it is idle", || client.read_u32(0, 0x20) & 1 == 0);
    // The thread begins only when it has raised the interrupt of the one before.
    client.write_u32(0, 0x20, 0);
    client.write_u32(0, 0x08, 1);
    wait_until("it is idle", || client.read_u32(0, 0x20) & 1 == 0);
    client.write_u32(0, 0x64, u32::MAX);
}

/// A timer of the device moves bytes, and raises an MSI.
fn transfer(client: &mut Client) {
    let ram = memory(0x10000);
    client.map(0, 0x10000, Some(&ram));
    client.write(7, 4, &BUS_MASTER);
    let vector = interrupt(client, MSI);
    rustix::io::pwrite(&ram, b"from the guest to the device", 0x100).unwrap();
    let mut start = |source: u64, destination: u64, command: u64| {
        let values = [source, destination, 28, command];
        for (index, value) in values.into_iter().enumerate() {
            client.write(0, 0x80 + 8 * index as u64, &Bytes::new().u64(value).0);
        }
        wait_readable(&vector, "the transfer's interrupt");
        assert_eq!(signals(&vector), 1);
        assert_eq!(client.read_u32(0, DMA_COMMAND) & 1, 0);
        client.write_u32(0, 0x64, 0x100);
    };
    start(0x100, 0x40000, 5);
    start(0x40000, 0x200, 7);
    let mut back = [0; 28];
    rustix::io::pread(&ram, &mut back, 0x200).unwrap();
    assert_eq!(&back, b"from the guest to the device");
}

#[test]
fn the_example_computes_transfers_and_interrupts() {
    let mut program = example();
    exercise(&program);
    // Its thread is stopped and joined.
    assert_eq!(program.terminate().code(), Some(0), "{}", program.log());
}

#[test]
fn a_transfer_outside_of_the_buffer_is_logged_and_left_out() {
    let program = example();
    let mut client = program.client();
    for (offset, value) in [(0x80, 0), (0x88, 0x40ff0), (0x90, 17), (DMA_COMMAND, 1)] {
        client.write_u32(0, offset, value);
    }
    program.wait_for_log("guest error: edu: 17 bytes at 0x40ff0 are not inside");
    wait_until("the transfer has ended", || client.read_u32(0, DMA_COMMAND) & 1 == 0);
}

#[test]
fn work_goes_on_after_a_client_has_gone_in_the_middle() {
    let program = example();
    for _ in 0..20 {
        let mut client = program.client();
        client.write_u32(0, 0x20, 0x80);
        client.write_u32(0, 0x08, 1_000_000);
    }
    exercise(&program);
}

/// A source's device, compiled and exercised; for QEMU's own.
pub fn exercise_source(source: &Path) {
    exercise(&Program::serve(&compile(source), &[]));
}
