//! Random sequences of messages, good, bad and cut, to one session each.

use std::os::fd::AsFd;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::common::*;
use crate::served::RunningServer;

/// Sequences that are tried. Each is a connection of its own.
const SEQUENCES: u32 = 10_000;

#[derive(Clone, Debug)]
struct Step {
    command: u16,
    flags: u32,
    payload: Vec<u8>,
    /// Number and kind of the descriptors.
    fds: (usize, u8),
    /// What to add to the true size in the header.
    lie: i64,
}

/// Numbers that lengths, counts and offsets are made of.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..64,
        Just(0x1000),
        Just(0xfff),
        Just(0x1001),
        Just(1 << 20),
        Just((1 << 20) + 1),
        Just(u64::from(u32::MAX)),
        Just(u64::MAX),
        Just(u64::MAX - 3),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::collection::vec((number(), any::<bool>()), 0..8).prop_map(|words| {
        let bytes = words.into_iter().map(|(number, wide)| {
            if wide {
                number.to_ne_bytes().to_vec()
            } else {
                (number as u32).to_ne_bytes().to_vec()
            }
        });
        bytes.flatten().collect()
    });
    let index = 0_u32..10;
    prop_oneof![
        4 => words,
        1 => prop::collection::vec(any::<u8>(), 0..100),
        1 => (number(), number()).prop_map(|(address, size)| dma_map(address, size)),
        1 => (number(), number(), 0_u32..4)
            .prop_map(|(address, size, flags)| dma_unmap(flags, address, size)),
        1 => (0_u32..0x80, 0_u32..6, 0_u32..3, 0_u32..42)
            .prop_map(|(flags, index, start, count)| set_irqs(flags, index, start, count, &[])),
        2 => (index.clone(), number(), number())
            .prop_map(|(region, offset, count)| access(region, offset, count as u32)),
        2 => (index.clone(), number(), 0_usize..20)
            .prop_map(|(region, offset, count)| region_write(region, offset, &vec![1; count])),
        1 => (number(), index).prop_map(|(argsz, index)| region_info(argsz as u32, index)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let command = prop_oneof![9 => 1_u16..19, 1 => any::<u16>()];
    let flags = prop_oneof![8 => Just(0_u32), 1 => Just(NO_REPLY), 1 => 0_u32..64];
    let lie = prop_oneof![20 => Just(0_i64), 1 => -40_i64..40, 1 => Just(i64::from(u32::MAX))];
    let fds = prop_oneof![4 => Just((0_usize, 0_u8)), 1 => (0_usize..20, 0_u8..3)];
    (command, flags, payload(), fds, lie).prop_map(|(command, flags, payload, fds, lie)| Step {
        command,
        flags,
        payload,
        fds,
        lie,
    })
}

/// Sends the sequence, and then a question. Either the answer comes, after nothing but whole
/// messages, or the connection ends. A test that hangs fails by its client's timeout.
fn play(server: &RunningServer, steps: &[Step], cut: Option<usize>) -> Result<(), TestCaseError> {
    let kinds = [memory(0x2000), event(), dev_null()];
    let mut client = server.client();
    let truthful = steps.iter().all(|step| step.lie == 0) && cut.is_none();
    for (id, step) in (1..).zip(steps) {
        let size = (16 + step.payload.len() as i64 + step.lie) as u32;
        let mut bytes = header(id, step.command, size, step.flags);
        bytes.extend(&step.payload);
        let fds = vec![kinds[usize::from(step.fds.1)].as_fd(); step.fds.0];
        if client.try_send_raw(&bytes, &fds).is_err() {
            prop_assert!(!truthful, "closed after nothing but sane headers");
            return Ok(());
        }
    }
    if let Some(cut) = cut {
        let _ = client.try_send_raw(&header(0, GET_INFO, 32, 0)[..cut], &[]);
        rustix::net::shutdown(client.socket(), rustix::net::Shutdown::Write).unwrap();
        while client.next().is_some() {}
        return Ok(());
    }
    let question = client.try_send_raw(&message(0xffff, GET_INFO, &info(16)), &[]);
    if !truthful {
        rustix::net::shutdown(client.socket(), rustix::net::Shutdown::Write).unwrap();
        while client.next().is_some() {}
        return Ok(());
    }
    prop_assert!(question.is_ok());
    loop {
        let reply = client.next();
        prop_assert!(reply.is_some(), "closed after nothing but sane headers");
        let reply = reply.unwrap();
        if reply.id == 0xffff && reply.flags == REPLY {
            prop_assert_eq!(reply.payload, Bytes::new().u32(16).u32(3).u32(9).u32(5).0);
            return Ok(());
        }
    }
}

#[test]
fn every_sequence_ends_in_sync_or_with_the_connection() {
    let server = RunningServer::everything();
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, random);
    let cut = prop_oneof![9 => Just(None), 1 => (0_usize..16).prop_map(Some)];
    let sequences = (prop::collection::vec(step(), 0..12), cut);
    runner.run(&sequences, |(steps, cut)| play(&server, &steps, cut)).unwrap();
    server.client().assert_in_sync();
}
