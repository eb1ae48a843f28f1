//! A client moves a device in C to another process, with the state that its VMStateDescription says.

use crate::common::{
    Client, DEVICE_FEATURE, DEVICE_RESET, MIG_DATA_READ, MIG_DATA_WRITE, MIG_RESUMING, MIG_RUNNING,
    MIG_STOP_COPY, QEMU_PROPOSAL, mig_data_read, mig_data_write, set_migration_state,
};
use crate::compiler::{compile, test_device};
use crate::program::Program;

/// A register that gives rand()'s numbers, and one that keeps what is written to it.
const RANDOM: u64 = 0x00;
const EXTRA: u64 = 0x28;

fn set_state(client: &mut Client, state: u32) {
    client.request(DEVICE_FEATURE, &set_migration_state(state)).ok();
}

/// The device's state; it stands still then.
fn taken(client: &mut Client) -> Vec<u8> {
    set_state(client, MIG_STOP_COPY);
    client.request(MIG_DATA_READ, &mig_data_read(1 << 20)).ok()[8..].to_vec()
}

/// Gives a device a state, and lets it go on; false if it does not take that.
fn given(client: &mut Client, state: &[u8]) -> bool {
    // One that has refused a state takes no other before a reset.
    client.request(DEVICE_RESET, &[]).ok();
    set_state(client, MIG_RESUMING);
    client.request(MIG_DATA_WRITE, &mig_data_write(state)).ok();
    client.request(DEVICE_FEATURE, &set_migration_state(MIG_RUNNING)).error == 0
}

#[test]
fn what_a_device_declares_goes_to_another_server() {
    let program = compile(&test_device("stateful.c"));
    let (from, to) = (Program::serve(&program, &[]), Program::serve(&program, &[]));
    let (mut source, mut target) = (from.client(), to.client());
    source.write_u32(0, RANDOM, 1);
    source.write_u32(0, EXTRA, 0x1234_5678);
    source.write(2, 0, b"memory");
    assert_eq!(source.read_u32(0, RANDOM), 1_804_289_383);
    let state = taken(&mut source);
    assert!(given(&mut target, &state));
    assert_eq!(target.read_u32(0, RANDOM), 846_930_886);
    assert_eq!(target.read_u32(0, EXTRA), 0x1234_5678);
    assert_eq!(target.read(2, 0, 6), b"memory");
}

#[test]
fn a_state_that_a_client_has_changed_is_refused() {
    let program = compile(&test_device("stateful.c"));
    let (from, to) = (Program::serve(&program, &[]), Program::serve(&program, &[]));
    let (mut source, mut target) = (from.client(), to.client());
    source.write_u32(0, EXTRA, 0x1234_5678);
    let state = String::from_utf8(taken(&mut source)).unwrap();
    for (what, other) in [
        ("\"stateful.flag\":0", "\"stateful.flag\":2"),
        ("\"stateful\":2", "\"stateful\":9"),
        ("\"stateful.words[3]\":0", "\"stateful.words[3]\":4294967296"),
        ("\"stateful.timer\":0", "\"stateful.timer\":18446744073709551615"),
        ("\"rand()\":\"", "\"rand()\":\"ff"),
        ("\"stateful.bytes\":\"", "\"stateful.bytes\":\"00"),
        ("\"stateful.fired\":", "\"stateful.other\":"),
    ] {
        assert!(state.contains(what), "{what}: {state}");
        assert!(!given(&mut target, state.replace(what, other).as_bytes()), "{other}");
    }
    assert!(given(&mut target, state.as_bytes()));
    assert_eq!(target.read_u32(0, EXTRA), 0x1234_5678);
}

#[test]
fn a_device_that_declares_no_state_offers_no_migration() {
    let program = Program::serve(&compile(&test_device("faulty.c")), &[]);
    let (_client, reply) = Client::negotiated_with(&program.socket(), QEMU_PROPOSAL);
    let json = String::from_utf8_lossy(&reply.payload[4..]).into_owned();
    assert!(!json.contains("\"migration\""), "{json}");
}
