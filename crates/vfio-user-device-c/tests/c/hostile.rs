//! A guest that does what no driver does, and a device in C that is none the worse for it.
//!
//! The device is compiled with the sanitizers, and checks its numbers. What a guest does to a device
//! that does not is in `faults`: that process ends, and no other.

use std::cell::RefCell;
use std::os::fd::AsFd;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::net::{Shutdown, shutdown};

use crate::common::{Client, DEVICE_RESET, DMA_MAP, REGION_WRITE, dma_map, memory, region_write};
use crate::compiler::{checkout, compile, test_device};
use crate::program::Program;

/// What the educational device answers at offset 0.
const IDENTITY: u32 = 0x0100_00ed;
/// Where a factorial is asked for: larger numbers take a thread of the device too long.
const FACTORIAL: u64 = 0x08;

#[derive(Clone, Debug)]
enum Step {
    Read { region: u32, offset: u64, width: u32 },
    Write { region: u32, offset: u64, data: Vec<u8> },
    Map(u64),
    Reset,
    Reconnect,
}

/// Registers with something behind them, and any other place.
fn offset() -> impl Strategy<Value = u64> {
    let registers = vec![0, 4, 8, 0x20, 0x24, 0x60, 0x64, 0x80, 0x88, 0x90, 0x98, 0x9f, 0x40000];
    prop_oneof![4 => prop::sample::select(registers), 1 => 0_u64..0xffff8]
}

/// Numbers at the borders of the device's buffer and of guest memory.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0_u64..16,
        3 => prop::sample::select(vec![0x40000, 0x40001, 0x40fff, 0x41000, 0x1000, 0xfff, 0x10000]),
        1 => any::<u64>(),
    ]
}

fn access() -> impl Strategy<Value = (u32, u64, u32)> {
    let width = (0_u32..4).prop_map(|bits| 1 << bits);
    // BAR 0 more often than configuration space.
    let place =
        prop_oneof![4 => offset().prop_map(|offset| (0, offset)), 1 => (Just(7), 0_u64..248)];
    (place, width).prop_map(|((region, offset), width)| (region, offset, width))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => access().prop_map(|(region, offset, width)| Step::Read { region, offset, width }),
        12 => (access(), number()).prop_map(|((region, offset, width), number)| {
            let number = if offset <= FACTORIAL { number & 0xffff } else { number };
            let data = number.to_le_bytes()[..width as usize].to_vec();
            Step::Write { region, offset, data }
        }),
        1 => (0_u64..4).prop_map(|page| Step::Map(page << 12)),
        1 => Just(Step::Reset),
        1 => Just(Step::Reconnect),
    ]
}

fn carry_out(step: Step, client: &mut Client, program: &Program) {
    match step {
        Step::Read { region, offset, width } => drop(client.read(region, offset, width)),
        Step::Write { region, offset, data } => client.write(region, offset, &data),
        // What is mapped already is refused.
        Step::Map(address) => {
            let map = dma_map(address, 0x1000);
            drop(client.request_with(DMA_MAP, &map, &[memory(0x1000).as_fd()]));
        }
        Step::Reset => drop(client.request(DEVICE_RESET, &[])),
        Step::Reconnect => {
            shutdown(client.socket(), Shutdown::Both).unwrap();
            *client = program.client();
        }
    }
}

#[test]
fn nothing_that_a_guest_does_ends_a_device_that_checks_its_numbers() {
    let mut program = Program::serve(&compile(&checkout().join("qemu-device/examples/edu.c")), &[]);
    let client = RefCell::new(program.client());
    let mut runner = TestRunner::new(Config { cases: 100, ..Config::default() });
    let result = runner.run(&prop::collection::vec(step(), 1..60), |steps| {
        let client = &mut *client.borrow_mut();
        for step in steps {
            carry_out(step, client, &program);
        }
        prop_assert_eq!(client.read_u32(0, 0), IDENTITY);
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}\n{}", program.log());
    assert_eq!(program.terminate().code(), Some(0), "{}", program.log());
}

#[test]
fn a_device_that_a_guest_ends_takes_no_other_along() {
    let source = compile(&test_device("faulty.c"));
    let (mut ended, other) = (Program::serve(&source, &[]), Program::serve(&source, &[]));
    let (mut hostile, mut neighbour) = (ended.client(), other.client());
    hostile.send(REGION_WRITE, &region_write(0, 0, &[4, 0, 0, 0]), &[]);
    assert_eq!(ended.wait().code(), Some(1));
    assert!(hostile.next().is_none());
    assert_eq!(neighbour.read_u32(0, 0), 7);
}
