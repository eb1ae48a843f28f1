//! Headers, and where messages begin and end.

use rustix::io::Errno;

use crate::common::*;
use crate::daemon::Daemon;

const LARGEST: u32 = 16 + 16 + (1 << 20);

/// A header with that size ends the connection, with a line in the log.
#[track_caller]
fn ends(size: u32) {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.send_raw(&header(1, GET_INFO, size, 0), &[]);
    client.assert_closed();
    daemon.wait_for_log(&format!("announces {size} bytes"));
    daemon.client().assert_in_sync();
}

#[test]
fn sizes_below_a_header_end_the_connection() {
    for size in [0, 1, 15] {
        ends(size);
    }
}

#[test]
fn sizes_above_the_largest_message_end_the_connection() {
    for size in [LARGEST + 1, 1 << 31, u32::MAX] {
        ends(size);
    }
}

#[test]
fn sizes_that_cannot_be_true_end_the_connection_before_negotiation() {
    let daemon = Daemon::start(&[]);
    for size in [0, 15, LARGEST + 1, u32::MAX] {
        let mut client = Client::connect(&daemon.path());
        client.send_raw(&header(1, VERSION, size, 0), &[]);
        client.assert_closed();
    }
    daemon.client().assert_in_sync();
}

#[test]
fn the_largest_message_is_read_and_answered() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let payload = [access(0, 0, 1 << 20), vec![0; 1 << 20]].concat();
    assert_eq!(client.refused(REGION_WRITE, &payload), Errno::INVAL);
}

#[test]
fn messages_of_every_short_length_keep_the_stream_in_sync() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for command in [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17, 18, 19, 0xffff] {
        for length in 0..8 {
            assert_eq!(client.refused(command, &vec![0; length]), Errno::INVAL, "{command}");
        }
    }
}

#[test]
fn an_unknown_command_is_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for command in [0, 14, 19, 0x7fff, 0xffff] {
        assert_eq!(client.refused(command, &[0; 64]), Errno::INVAL);
    }
}

#[test]
fn a_type_that_is_neither_command_nor_reply_is_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for flags in [2, 3, 8, 0xf] {
        let id = client.send_with_flags(GET_INFO, flags, &info(16), &[]);
        let reply = client.receive();
        assert_eq!((reply.id, reply.errno()), (id, Errno::INVAL));
        client.assert_in_sync();
    }
}

#[test]
fn an_unexpected_reply_is_rejected() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for command in [GET_INFO, DMA_READ, DMA_WRITE, VERSION, 77] {
        client.send_with_flags(command, REPLY, &info(16), &[]);
        assert_eq!(client.receive().errno(), Errno::INVAL);
        client.send_with_flags(command, REPLY | ERROR, &[], &[]);
        client.assert_in_sync();
    }
}

#[test]
fn an_error_field_in_a_command_means_nothing() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let head = Bytes::new().u16(9).u16(GET_INFO).u32(32).u32(ERROR).u32(5).0;
    client.send_raw(&[head, info(16)].concat(), &[]);
    assert_eq!(client.receive().id, 9);
    client.assert_in_sync();
}

#[test]
fn messages_byte_by_byte_are_answered() {
    let daemon = Daemon::glibc();
    let mut client = daemon.client();
    let stream = [
        message(1, REGION_READ, &access(0, 0, 4)),
        message(2, REGION_WRITE, &region_write(0, 4, &[1, 0, 0, 0])),
        message(3, DEVICE_RESET, b""),
        message(4, GET_REGION_INFO, &region_info(32, 0)),
    ];
    for byte in stream.concat() {
        client.send_raw(&[byte], &[]);
    }
    for id in 1..=4 {
        let reply = client.receive();
        assert_eq!(reply.id, id);
        reply.ok();
    }
}

#[test]
fn glued_messages_are_answered_in_order() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let messages = (1..=200_u16).map(|id| match id % 5 {
        0 => message(id, DEVICE_RESET, b""),
        1 => message(id, REGION_READ, &access(0, 0, 4)),
        2 => message(id, GET_REGION_INFO, &region_info(32, 0)),
        3 => message(id, 99, &[0; 3]),
        _ => message(id, REGION_WRITE, &region_write(0, 8, &[0; 100])),
    });
    let stream: Vec<u8> = messages.flatten().collect();
    client.send_raw(&stream, &[]);
    let ids: Vec<u16> = (1..=200).map(|_| client.receive().id).collect();
    assert_eq!(ids, (1..=200).collect::<Vec<_>>());
}

#[test]
fn a_posted_message_that_fails_gets_no_reply() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.post(REGION_WRITE, &region_write(0, 4095, &[0; 4]), &[]);
    client.post(99, &[], &[]);
    client.post(GET_INFO, &[0; 3], &[]);
    client.post(DMA_UNMAP, &dma_unmap(0, 0, 4096), &[]);
    client.assert_in_sync();
}

#[test]
fn a_posted_message_that_succeeds_gets_no_reply() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.post(GET_INFO, &info(16), &[]);
    client.post(REGION_READ, &access(0, 0, 4), &[]);
    client.post(DEVICE_RESET, &[], &[]);
    client.post(DMA_MAP, &dma_map(0, 4096), &[]);
    client.post(DMA_UNMAP, &dma_unmap(0, 0, 4096), &[]);
    client.assert_in_sync();
}

#[test]
fn posted_writes_happen_before_the_next_command() {
    let daemon = Daemon::glibc();
    let mut client = daemon.client();
    client.read_u32(0, 0);
    for seed in [7_u32, 8, 1] {
        client.post(REGION_WRITE, &region_write(0, 4, &seed.to_le_bytes()), &[]);
    }
    assert_eq!(client.read_u32(0, 0), 1804289383);
}
