//! A device goes from one server to another: states, data, and what it takes along.

use rustix::io::Errno;
use vfio_user_device::{Access, Bar, Bus, Device, DeviceConfig, Identity};

use crate::common::*;
use crate::device::*;
use crate::interrupts::assign;
use crate::served::{RunningServer, enable_bus_master};

/// The states that a client can ask for.
const STATES: [u32; 5] = [MIG_STOP, MIG_RUNNING, MIG_STOP_COPY, MIG_RESUMING, MIG_PRE_COPY];
/// Offset of MSI-X message control in configuration space.
const MSIX_CONTROL: u64 = 0x42;
/// More than a state has.
const MUCH: u32 = 1 << 20;

#[track_caller]
pub fn set_state(client: &mut Client, state: u32) {
    let payload = set_migration_state(state);
    assert_eq!(client.request(DEVICE_FEATURE, &payload).ok(), payload);
}

fn refused_state(client: &mut Client, state: u32) -> Errno {
    client.refused(DEVICE_FEATURE, &set_migration_state(state))
}

fn state(client: &mut Client) -> u32 {
    let payload = feature(GET | MIG_DEVICE_STATE, &[], 8);
    let reply = client.request(DEVICE_FEATURE, &payload).ok();
    assert_eq!((reply.len(), u32_at(&reply, 0)), (16, 16));
    u32_at(&reply, 8)
}

/// All of the device's state, in pieces of that size.
fn read_state(client: &mut Client, piece: u32) -> Vec<u8> {
    let mut state = Vec::new();
    loop {
        let reply = client.request(MIG_DATA_READ, &mig_data_read(piece)).ok();
        assert_eq!(u32_at(&reply, 0) as usize, reply.len());
        assert_eq!(u32_at(&reply, 4) as usize, reply.len() - 8);
        state.extend_from_slice(&reply[8..]);
        if reply.len() < 8 + piece as usize {
            return state;
        }
    }
}

fn write_state(client: &mut Client, state: &[u8]) {
    for piece in state.chunks(1000) {
        assert!(client.request(MIG_DATA_WRITE, &mig_data_write(piece)).ok().is_empty());
    }
}

/// Moves the device of one client to that of another one, which then works.
pub fn migrate(from: &mut Client, to: &mut Client) {
    set_state(from, MIG_STOP_COPY);
    let state = read_state(from, 777);
    set_state(to, MIG_RESUMING);
    write_state(to, &state);
    set_state(to, MIG_RUNNING);
}

#[test]
fn a_device_that_can_say_its_state_offers_migration() {
    let server = RunningServer::everything();
    let (mut client, reply) = Client::negotiated_with(&server.path(), QEMU_PROPOSAL);
    let json = String::from_utf8_lossy(&reply.payload[4..]).into_owned();
    assert!(json.contains("\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":1048576}"), "{json}");
    let reply = client.request(DEVICE_FEATURE, &feature(GET | MIGRATION, &[], 8)).ok();
    assert_eq!((reply.len(), u64_at(&reply, 8)), (16, 5), "STOP_COPY and PRE_COPY");
    for (what, possible) in [
        (PROBE | MIGRATION, true),
        (PROBE | GET | MIGRATION, true),
        (PROBE | SET | MIGRATION, false),
        (PROBE | GET | SET | MIG_DEVICE_STATE, true),
        (PROBE | SET | DMA_LOGGING_START, true),
        (PROBE | GET | DMA_LOGGING_STOP, false),
        (PROBE | GET | DMA_LOGGING_REPORT, true),
        (PROBE | GET | 3, false),
        (GET | SET | MIG_DEVICE_STATE, false),
        (MIG_DEVICE_STATE, false),
        (PROBE | 1 << 19 | MIGRATION, false),
    ] {
        let payload = feature(what, &[], 0);
        if possible {
            assert_eq!(client.request(DEVICE_FEATURE, &payload).ok(), payload, "{what:#x}");
        } else {
            assert_eq!(client.refused(DEVICE_FEATURE, &payload), Errno::INVAL, "{what:#x}");
        }
    }
    let payload = feature(GET | MIGRATION, &[], 7);
    assert_eq!(client.refused(DEVICE_FEATURE, &payload), Errno::INVAL, "no room");
}

/// A device without `save`.
struct Mute;

impl Device for Mute {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(0x1234, 0x7e57)).bar(0, Bar::memory32(4096))
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}
}

#[test]
fn a_device_that_cannot_say_its_state_offers_no_migration() {
    let server = RunningServer::new(Mute);
    let (mut client, reply) = Client::negotiated_with(&server.path(), QEMU_PROPOSAL);
    assert!(!String::from_utf8_lossy(&reply.payload[4..]).contains("migration"));
    for what in [GET | MIGRATION, PROBE | MIGRATION, PROBE | SET | MIG_DEVICE_STATE] {
        let payload = feature(what, &[], 8);
        assert_eq!(client.refused(DEVICE_FEATURE, &payload), Errno::INVAL, "{what:#x}");
    }
    assert_eq!(refused_state(&mut client, MIG_STOP), Errno::INVAL);
}

#[test]
fn transitions_are_those_that_clients_of_libvfio_user_expect() {
    let server = RunningServer::everything();
    let mut client = server.client();
    for from in STATES {
        for to in STATES {
            client.request(DEVICE_RESET, &[]).ok();
            set_state(&mut client, from);
            if (from, to) == (MIG_STOP_COPY, MIG_PRE_COPY) {
                assert_eq!(refused_state(&mut client, to), Errno::INVAL);
                assert_eq!(state(&mut client), from);
            } else {
                set_state(&mut client, to);
                assert_eq!(state(&mut client), to, "from {from}");
            }
        }
        // ERROR, the two for peers, and one that does not exist.
        for to in [MIG_ERROR, 5, 7, 0xabcd] {
            assert_eq!(refused_state(&mut client, to), Errno::INVAL, "from {from} to {to}");
        }
    }
    client.request(DEVICE_RESET, &[]).ok();
    assert_eq!(state(&mut client), MIG_RUNNING, "after a reset");
}

#[test]
fn data_are_read_and_written_in_their_states_only() {
    let server = RunningServer::everything();
    let mut client = server.client();
    for current in STATES {
        client.request(DEVICE_RESET, &[]).ok();
        set_state(&mut client, current);
        let read = client.request(MIG_DATA_READ, &mig_data_read(4));
        match current {
            MIG_STOP_COPY => assert_eq!(read.ok().len(), 12),
            MIG_PRE_COPY => assert_eq!(read.ok().len(), 8, "there is nothing yet"),
            _ => assert_eq!(read.errno(), Errno::INVAL, "{current}"),
        }
        let written = client.request(MIG_DATA_WRITE, &mig_data_write(&[0; 4]));
        match current {
            MIG_RESUMING => assert!(written.ok().is_empty()),
            _ => assert_eq!(written.errno(), Errno::INVAL, "{current}"),
        }
    }
}

#[test]
fn malformed_requests_for_data_are_refused() {
    let server = RunningServer::everything();
    let mut client = server.client();
    set_state(&mut client, MIG_STOP_COPY);
    for wrong in [
        vec![0; 7],
        Bytes::new().u32(11).u32(4).0,
        mig_data_read(MUCH + 1),
        Bytes::new().u32(u32::MAX).u32(u32::MAX).0,
    ] {
        assert_eq!(client.refused(MIG_DATA_READ, &wrong), Errno::INVAL, "{wrong:?}");
    }
    set_state(&mut client, MIG_RESUMING);
    for wrong in [vec![0; 7], Bytes::new().u32(12).u32(4).raw(&[0; 3]).0] {
        assert_eq!(client.refused(MIG_DATA_WRITE, &wrong), Errno::INVAL, "{wrong:?}");
    }
    let short = feature(SET | MIG_DEVICE_STATE, &[0; 7], 8);
    assert_eq!(client.refused(DEVICE_FEATURE, &short), Errno::INVAL);
}

#[test]
fn a_device_takes_its_registers_and_configuration_along_there_and_back() {
    let servers = [RunningServer::everything(), RunningServer::everything()];
    let [mut here, mut there] = [&servers[0], &servers[1]].map(RunningServer::client);
    enable_bus_master(&mut here);
    here.write_u32(0, SCRATCH, 0x1234_5678);
    here.write(CONFIG, 0x10, &[0, 0, 0, 0xfe]);
    here.write(1, 16, &[0x5a; 16]);
    migrate(&mut here, &mut there);
    assert_eq!(there.read_u32(0, SCRATCH), 0x1234_5678);
    assert_eq!(there.read(CONFIG, 4, 2), [6, 0]);
    assert_eq!(there.read_u32(CONFIG, 0x10), 0xfe00_0000);
    assert_eq!(there.read(1, 16, 16), [0x5a; 16], "the MSI-X table");
    there.write_u32(0, SCRATCH, 7);
    migrate(&mut there, &mut here);
    assert_eq!(here.read_u32(0, SCRATCH), 7);
}

#[test]
fn the_memory_of_bars_goes_along() {
    let servers = [RunningServer::everything(), RunningServer::everything()];
    let [mut here, mut there] = [&servers[0], &servers[1]].map(RunningServer::client);
    here.write(4, 0x1ff8, b"the end.");
    here.write(2, 0x1000, b"begin");
    migrate(&mut here, &mut there);
    assert_eq!(
        (&there.read(4, 0x1ff8, 8)[..], &there.read(2, 0x1000, 5)[..]),
        (&b"the end."[..], &b"begin"[..])
    );
}

#[test]
fn interrupts_that_wait_reach_the_other_client() {
    let servers = [RunningServer::everything(), RunningServer::everything()];
    let [mut here, mut there] = [&servers[0], &servers[1]].map(RunningServer::client);
    here.write(CONFIG, MSIX_CONTROL, &[0, 0x80]);
    // Without an eventfd it waits.
    here.write_u32(0, RAISE, 3);
    let [vector, others] = [event(), event()];
    set_state(&mut there, MIG_RESUMING);
    assign(&mut there, MSIX, 3, &[&vector]);
    assign(&mut there, MSIX, 4, &[&others]);
    migrate(&mut here, &mut there);
    assert_eq!((signals(&vector), signals(&others)), (1, 0));
    there.write_u32(0, RAISE, 4);
    assert_eq!((signals(&vector), signals(&others)), (0, 1), "its eventfds are its own");
}

#[test]
fn the_pin_has_its_level_and_the_other_client_hears_of_it() {
    let servers = [RunningServer::everything(), RunningServer::everything()];
    let [mut here, mut there] = [&servers[0], &servers[1]].map(RunningServer::client);
    let [first, second] = [event(), event()];
    assign(&mut here, INTX, 0, &[&first]);
    assign(&mut there, INTX, 0, &[&second]);
    here.write_u32(0, PIN, 1);
    assert_eq!(signals(&first), 1);
    migrate(&mut here, &mut there);
    assert_eq!((signals(&first), signals(&second)), (0, 1));
}

#[test]
fn a_device_that_stands_still_has_configuration_space_only() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    client.write_u32(0, SCRATCH, 7);
    set_state(&mut client, MIG_STOP);
    assert_eq!(client.refused(REGION_READ, &access(0, FIRED, 4)), Errno::INVAL);
    assert_eq!(client.refused(REGION_WRITE, &region_write(0, SCRATCH, &[0; 4])), Errno::INVAL);
    let entry = Bytes::new().u64(1).u64(SCRATCH).u32(0).u32(4).u64(0).0;
    assert_eq!(client.refused(REGION_WRITE_MULTI, &entry), Errno::INVAL);
    assert_eq!(client.read(CONFIG, 4, 2), [6, 0]);
    client.write(CONFIG, 4, &[2, 0]);
    set_state(&mut client, MIG_RUNNING);
    assert_eq!((client.read(CONFIG, 4, 2), client.read_u32(0, SCRATCH)), (vec![2, 0], 7));
}

#[test]
fn timers_go_along_with_the_time_that_they_have_left() {
    let servers = [RunningServer::everything(), RunningServer::everything()];
    let [mut here, mut there] = [&servers[0], &servers[1]].map(RunningServer::client);
    here.write_u32(0, TIMER, 1 << 16 | 60_000);
    here.write_u32(0, TIMER, 2 << 16 | 1);
    set_state(&mut here, MIG_STOP_COPY);
    let state = String::from_utf8(read_state(&mut here, MUCH)).unwrap();
    assert!(state.contains("\"timers\":[{\"id\":1,\"left\":{\"secs\":59"), "{state}");
    set_state(&mut there, MIG_RESUMING);
    write_state(&mut there, state.as_bytes());
    set_state(&mut there, MIG_RUNNING);
    wait_until("the second timer fires, here or there", || there.read_u32(0, FIRED_ORDER) == 2);
}

#[test]
fn a_state_that_is_not_one_leaves_an_error_which_a_reset_ends() {
    let server = RunningServer::everything();
    let mut client = server.client();
    set_state(&mut client, MIG_STOP_COPY);
    let good = String::from_utf8(read_state(&mut client, MUCH)).unwrap();
    for wrong in [
        "no JSON".to_owned(),
        good[..good.len() - 1].to_owned(),
        "[".repeat(100_000),
        good.replacen("\"version\":", "\"version\":9", 1),
        good.replacen("\"bytes\":\"34125", "\"at_reset\":\"35125", 1),
        good.replacen("\"at_reset\":\"34125", "\"at_reset\":\"35125", 1),
        good.replacen("\"shared_memory\":[null", "\"shared_memory\":[\"00\"", 1),
        good.replacen("\"scratch\":0", "\"scratch\":\"x\"", 1),
        good.replacen(
            "\"msix\":[]",
            "\"msix\":[{\"number\":40,\"eventfd\":null,\
            \"masked\":false,\"pending\":true}]",
            1,
        ),
    ] {
        assert_ne!(wrong, good);
        client.request(DEVICE_RESET, &[]).ok();
        set_state(&mut client, MIG_RESUMING);
        write_state(&mut client, wrong.as_bytes());
        assert_eq!(refused_state(&mut client, MIG_RUNNING), Errno::INVAL, "{wrong:.60}");
        assert_eq!(state(&mut client), MIG_ERROR);
        assert_eq!(refused_state(&mut client, MIG_STOP), Errno::INVAL);
        assert_eq!(client.refused(REGION_READ, &access(0, SCRATCH, 4)), Errno::INVAL);
    }
    drop(client);
    let mut client = server.client();
    assert_eq!(state(&mut client), MIG_RUNNING, "the next client's device works");
    client.write_u32(0, SCRATCH, 1);
    assert_eq!(client.read_u32(0, SCRATCH), 1);
}

#[test]
fn no_more_data_are_kept_than_a_state_can_have() {
    let server = RunningServer::everything();
    let mut client = server.client();
    set_state(&mut client, MIG_RESUMING);
    let piece = mig_data_write(&vec![b' '; 1 << 19]);
    let accepted = (0..100).take_while(|_| {
        let reply = client.request(MIG_DATA_WRITE, &piece);
        reply.flags == REPLY
    });
    assert!((2..4).contains(&accepted.count()));
    client.assert_in_sync();
}

#[test]
fn the_next_client_finds_a_device_that_works() {
    let server = RunningServer::everything();
    for state in STATES {
        let mut client = server.client();
        client.write_u32(0, SCRATCH, state);
        set_state(&mut client, state);
        drop(client);
        let mut client = server.client();
        assert_eq!(client.read_u32(0, SCRATCH), state);
        assert_eq!(self::state(&mut client), MIG_RUNNING);
    }
}

#[test]
fn a_device_that_panicked_is_not_migrated() {
    let server = RunningServer::new(Everything::that_may_panic());
    let mut client = server.client();
    client.write_u32(0, PANIC, 1);
    assert_eq!(refused_state(&mut client, MIG_STOP_COPY), Errno::INVAL);
    client.assert_in_sync();
}
