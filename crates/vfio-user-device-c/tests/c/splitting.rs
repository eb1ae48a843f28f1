//! Accesses reach a region's functions as QEMU's memory core has them: in pieces, and made wider.
//!
//! All settings and accesses are a few thousand classes, which random cases reach without the coverage
//! that a fuzz target is led by. The lab's `replay` tests compare with QEMU itself.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::common::{Client, u64_at};
use crate::compiler::{compile, test_device};
use crate::model::{self, Call, Ops};
use crate::program::Program;

const CALLS: u32 = 2;
const SETTINGS: u32 = 4;

fn set(client: &mut Client, ops: &Ops) {
    let flags = u64::from(ops.valid_unaligned)
        | u64::from(ops.impl_unaligned) << 1
        | u64::from(ops.big_endian) << 2;
    let values = [ops.valid.0, ops.valid.1, ops.impl_.0, ops.impl_.1, flags];
    for (index, value) in values.into_iter().enumerate() {
        client.write_u32(SETTINGS, 4 * index as u64, value as u32);
    }
}

/// The calls since this was last asked.
fn take_calls(client: &mut Client) -> Vec<Call> {
    let log = client.read(CALLS, 0, 1024);
    client.write(CALLS, 0, &[0; 8]);
    let call = |index: u64| {
        let at = 8 + 24 * index as usize;
        Call { address: u64_at(&log, at), size: u64_at(&log, at + 8), value: u64_at(&log, at + 16) }
    };
    (0..u64_at(&log, 0)).map(call).collect()
}

/// Sizes, as a device may have them: 0 for none, or the smaller one first.
fn sizes() -> impl Strategy<Value = (u64, u64)> {
    let size = prop::sample::select(vec![0_u64, 1, 2, 4, 8]);
    (size.clone(), size).prop_map(|(a, b)| if b == 0 { (a, b) } else { (a.min(b), a.max(b)) })
}

fn ops() -> impl Strategy<Value = Ops> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (sizes(), sizes(), flags).prop_map(
        |(valid, impl_, (valid_unaligned, impl_unaligned, big_endian))| Ops {
            valid,
            valid_unaligned,
            impl_,
            impl_unaligned,
            big_endian,
        },
    )
}

#[derive(Clone, Debug)]
struct Access {
    address: u64,
    size: u64,
    data: Option<u64>,
}

/// Naturally aligned ones: what a client sends is taken apart into those by the server.
fn access() -> impl Strategy<Value = Access> {
    (0_u64..64, 0_u32..4, prop::option::of(any::<u64>())).prop_map(|(place, width, data)| {
        let size = 1 << width;
        Access { address: place / size * size, size, data }
    })
}

#[test]
fn calls_are_those_of_the_model() {
    let program = Program::serve(&compile(&test_device("split.c")), &[]);
    let client = std::cell::RefCell::new(program.client());
    let mut runner = TestRunner::new(Config { cases: 2000, ..Config::default() });
    let cases = (ops(), prop::collection::vec(access(), 1..8));
    let result = runner.run(&cases, |(ops, accesses)| {
        let client = &mut *client.borrow_mut();
        set(client, &ops);
        for Access { address, size, data } in accesses {
            if let Some(data) = data {
                let data = &data.to_le_bytes()[..size as usize];
                client.write(0, address, data);
                prop_assert_eq!(take_calls(client), model::write(&ops, address, data));
            } else {
                let got = client.read(0, address, size as u32);
                let (calls, expected) = model::read(&ops, address, size);
                prop_assert_eq!(take_calls(client), calls);
                prop_assert_eq!(got, expected);
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn well_known_cases_are_as_in_qemu() {
    let program = Program::serve(&compile(&test_device("split.c")), &[]);
    let client = &mut program.client();
    let plain = Ops {
        valid: (0, 0),
        valid_unaligned: false,
        impl_: (0, 0),
        impl_unaligned: false,
        big_endian: false,
    };
    let mut sizes = |ops: Ops, address, size| {
        set(client, &ops);
        client.read(0, address, size);
        let calls = take_calls(client);
        calls.iter().map(|call| (call.address, call.size)).collect::<Vec<_>>()
    };
    assert_eq!(sizes(plain, 8, 8), [(8, 4), (12, 4)], "8 bytes by default");
    assert_eq!(sizes(plain, 6, 2), [(6, 2)]);
    let bytes = Ops { impl_: (1, 1), ..plain };
    assert_eq!(sizes(bytes, 4, 4), [(4, 1), (5, 1), (6, 1), (7, 1)]);
    let words = Ops { impl_: (4, 4), ..plain };
    assert_eq!(sizes(words, 2, 1), [(2, 4)], "wider, at the same address");
    let edu = Ops { valid: (4, 8), impl_: (4, 8), ..plain };
    assert_eq!(sizes(edu, 0x80, 8), [(0x80, 8)]);
    assert_eq!(sizes(edu, 0x80, 2), [], "narrower than valid");
}
