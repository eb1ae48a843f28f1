//! A device that reads and writes guest memory, mapped and by message.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::fs::ftruncate;
use rustix::io::{Errno, pread, pwrite};

use crate::common::*;
use crate::device::*;
use crate::served::{RunningServer, enable_bus_master, ring};

pub const PAGE: u64 = 0x1000;

/// Guest memory of two pages at 0x10000, mapped, and of two at 0x20000, by message.
pub fn guest() -> (RunningServer, Client, OwnedFd) {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let file = memory(2 * PAGE);
    client.map(0x10000, 2 * PAGE, Some(&file));
    client.map(0x20000, 2 * PAGE, None);
    (server, client, file)
}

pub fn wait_done(client: &mut Client, count: u32) {
    wait_until("the access is over", || client.read_u32(0, DONE) == count);
}

/// Takes a DMA command of the server: id, address, count, data.
#[track_caller]
pub fn take_dma(client: &mut Client, command: u16) -> (u16, u64, u64, Vec<u8>) {
    let request = client.receive();
    assert_eq!((request.command, request.flags, request.error), (command, 0, 0));
    let payload = &request.payload;
    (request.id, u64_at(payload, 0), u64_at(payload, 8), payload[16..].to_vec())
}

/// Leaves a DMA_READ of 16 bytes at 0x20000 unanswered, and returns its id.
pub fn unanswered(client: &mut Client) -> u16 {
    ring(client, READ, 0x20000, 16, 0);
    take_dma(client, DMA_READ).0
}

#[test]
fn mapped_memory_is_read_without_messages() {
    let (_server, mut client, file) = guest();
    pwrite(&file, &[1, 2, 3, 4], 0xffe).unwrap();
    ring(&mut client, READ, 0x10ffe, 4, 0);
    wait_done(&mut client, 1);
    assert_eq!((client.read_u32(0, STATUS), client.read_u32(0, SUM)), (0, 10));
}

#[test]
fn mapped_memory_is_written_without_messages() {
    let (_server, mut client, file) = guest();
    ring(&mut client, WRITE, 0x10ffe, 4, 7);
    wait_done(&mut client, 1);
    let mut bytes = [0; 6];
    pread(&file, &mut bytes, 0xffd).unwrap();
    assert_eq!(bytes, [0, 7, 7, 7, 7, 0]);
}

#[test]
fn the_offset_in_the_file_counts() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let file = memory(4 * PAGE);
    let map = dma_map_with(3, 2 * PAGE, 0, PAGE);
    client.request_with(DMA_MAP, &map, &[file.as_fd()]).ok();
    ring(&mut client, WRITE, 1, 1, 9);
    wait_done(&mut client, 1);
    let mut bytes = [0; 2];
    pread(&file, &mut bytes, 2 * PAGE).unwrap();
    assert_eq!(bytes, [0, 9]);
}

#[test]
fn memory_without_a_descriptor_is_read_by_message() {
    let (_server, mut client, _file) = guest();
    ring(&mut client, READ, 0x20010, 4, 0);
    let (id, address, count, data) = take_dma(&mut client, DMA_READ);
    assert_eq!((address, count, data), (0x20010, 4, vec![]));
    client.send_raw(&dma_reply(id, DMA_READ, address, count, &[1, 2, 3, 4]), &[]);
    wait_done(&mut client, 1);
    assert_eq!((client.read_u32(0, STATUS), client.read_u32(0, SUM)), (0, 10));
}

#[test]
fn memory_without_a_descriptor_is_written_by_message() {
    let (_server, mut client, _file) = guest();
    ring(&mut client, WRITE, 0x20010, 4, 7);
    let (id, address, count, data) = take_dma(&mut client, DMA_WRITE);
    assert_eq!((address, count, data), (0x20010, 4, vec![7; 4]));
    client.send_raw(&dma_reply(id, DMA_WRITE, address, count, &[]), &[]);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, STATUS), 0);
}

#[test]
fn accesses_are_split_at_the_clients_limit() {
    let server = RunningServer::everything();
    let json = b"{\"capabilities\":{\"max_data_xfer_size\":100}}\0";
    let mut client = Client::negotiated_with(&server.path(), json).0;
    enable_bus_master(&mut client);
    client.map(0x20000, PAGE, None);
    ring(&mut client, READ, 0x20000, 250, 0);
    let mut pieces = Vec::new();
    for _ in 0..3 {
        let (id, address, count, _) = take_dma(&mut client, DMA_READ);
        let data = vec![1; count as usize];
        client.send_raw(&dma_reply(id, DMA_READ, address, count, &data), &[]);
        pieces.push((address, count));
    }
    wait_done(&mut client, 1);
    assert_eq!(pieces, [(0x20000, 100), (0x20064, 100), (0x200c8, 50)]);
    assert_eq!(client.read_u32(0, SUM), 250);
}

/// QEMU cuts a reply that its socket has no room for, and never sends the rest.
#[test]
fn accesses_are_split_at_64_kib_even_if_the_client_takes_more() {
    let server = RunningServer::everything();
    for json in [&b""[..], QEMU_PROPOSAL] {
        let mut client = Client::negotiated_with(&server.path(), json).0;
        enable_bus_master(&mut client);
        client.map(0, 4 << 20, None);
        client.request(DEVICE_RESET, &[]).ok();
        enable_bus_master(&mut client);
        ring(&mut client, WRITE, 0, (128 << 10) + 1, 3);
        let mut pieces = Vec::new();
        for _ in 0..3 {
            let (id, address, count, data) = take_dma(&mut client, DMA_WRITE);
            client.send_raw(&dma_reply(id, DMA_WRITE, address, count, &[]), &[]);
            pieces.push((address, count, data.len()));
        }
        wait_done(&mut client, 1);
        assert_eq!(pieces, [(0, 65536, 65536), (65536, 65536, 65536), (131_072, 1, 1)]);
    }
}

#[test]
fn a_reply_that_is_cut_ends_the_connection_with_a_reason() {
    let (server, mut client, _file) = guest();
    let id = unanswered(&mut client);
    let reply = dma_reply(id, DMA_READ, 0x20000, 16, &[1; 16]);
    let begun = Instant::now();
    client.send_raw(&reply[..40], &[]);
    client.assert_closed();
    assert!(begun.elapsed().as_secs() >= 4, "a client has time for the rest");
    let mut client = server.bus_master();
    assert_eq!((client.read_u32(0, DONE), client.read_u32(0, STATUS)), (1, DISCONNECTED));
}

#[test]
fn an_access_goes_from_mapped_memory_on_by_message() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let file = memory(PAGE);
    client.map(0, PAGE, Some(&file));
    client.map(PAGE, PAGE, None);
    ring(&mut client, WRITE, PAGE - 2, 5, 8);
    let (id, address, count, data) = take_dma(&mut client, DMA_WRITE);
    assert_eq!((address, count, data), (PAGE, 3, vec![8; 3]));
    client.send_raw(&dma_reply(id, DMA_WRITE, address, count, &[]), &[]);
    wait_done(&mut client, 1);
}

#[test]
fn registers_are_answered_while_a_dma_read_is_unanswered() {
    let (_server, mut client, _file) = guest();
    let id = unanswered(&mut client);
    client.write_u32(0, SCRATCH, 0x1234);
    assert_eq!(client.read_u32(0, SCRATCH), 0x1234);
    assert_eq!(client.read_u32(0, DONE), 0);
    client.send_raw(&dma_reply(id, DMA_READ, 0x20000, 16, &[1; 16]), &[]);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, SUM), 16);
}

#[test]
fn the_clients_refusal_reaches_the_device() {
    let (_server, mut client, _file) = guest();
    let id = unanswered(&mut client);
    let refusal = Bytes::new().u16(id).u16(DMA_READ).u32(16).u32(REPLY | ERROR).u32(19);
    client.send_raw(&refusal.0, &[]);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, STATUS), 19);
}

#[test]
fn nonsense_replies_are_errors_of_that_access_alone() {
    let nonsense: [fn(u16) -> Vec<u8>; 7] = [
        |id| dma_reply(id, DMA_WRITE, 0x20000, 16, &[]),
        |id| dma_reply(id, DMA_READ, 0x20001, 16, &[1; 16]),
        |id| dma_reply(id, DMA_READ, 0x20000, 15, &[1; 15]),
        |id| dma_reply(id, DMA_READ, 0x20000, u64::MAX, &[1; 16]),
        |id| dma_reply(id, DMA_READ, 0x20000, 16, &[1; 17]),
        |id| dma_reply(id, DMA_READ, 0x20000, 16, &[]),
        |id| header(id, DMA_READ, 16, REPLY),
    ];
    let (_server, mut client, _file) = guest();
    for (count, reply) in (1..).zip(nonsense) {
        let id = unanswered(&mut client);
        client.send_raw(&reply(id), &[]);
        wait_done(&mut client, count);
        assert_eq!(client.read_u32(0, STATUS), Errno::PROTO.raw_os_error() as u32, "{count}");
    }
}

#[test]
fn a_reply_with_another_id_is_rejected_and_changes_nothing() {
    let (_server, mut client, _file) = guest();
    let id = unanswered(&mut client);
    client.send_raw(&dma_reply(id ^ 1, DMA_READ, 0x20000, 16, &[2; 16]), &[]);
    assert_eq!(client.receive().errno(), Errno::INVAL);
    assert_eq!(client.read_u32(0, DONE), 0);
    client.send_raw(&dma_reply(id, DMA_READ, 0x20000, 16, &[1; 16]), &[]);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, SUM), 16);
}

#[test]
fn descriptors_with_a_dma_reply_are_closed() {
    let (_server, mut client, _file) = guest();
    let id = unanswered(&mut client);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let reply = dma_reply(id, DMA_READ, 0x20000, 16, &[1; 16]);
    client.send_raw(&reply, &[writer.as_fd()]);
    drop(writer);
    wait_readable(&reader, "the last writer to go");
    wait_done(&mut client, 1);
}

#[test]
fn there_is_no_dma_without_bus_mastering() {
    let server = RunningServer::everything();
    let mut client = server.client();
    let file = memory(PAGE);
    client.map(0, PAGE, Some(&file));
    ring(&mut client, WRITE, 0, 4, 7);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, STATUS), NOT_BUS_MASTER);
    let mut bytes = [1; 4];
    pread(&file, &mut bytes, 0).unwrap();
    assert_eq!(bytes, [0; 4]);
}

#[test]
fn there_is_no_dma_where_no_memory_is() {
    let (_server, mut client, _file) = guest();
    for (count, address) in (1..).zip([0, 0x12000, 0x11fff, 0x30000, u64::MAX, u64::MAX - 3]) {
        ring(&mut client, READ, address, 4, 0);
        wait_done(&mut client, count);
        assert_eq!(client.read_u32(0, STATUS), NOT_MAPPED, "{address:#x}");
    }
}

#[test]
fn a_region_to_read_is_not_written() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let file = memory(PAGE);
    client.request_with(DMA_MAP, &dma_map_with(1, 0, 0, PAGE), &[file.as_fd()]).ok();
    ring(&mut client, WRITE, 0, 4, 7);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, STATUS), NOT_PERMITTED);
}

#[test]
fn an_access_of_no_bytes_succeeds() {
    let (_server, mut client, _file) = guest();
    ring(&mut client, READ, 0x20000, 0, 0);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, STATUS), 0);
}

#[test]
fn memory_that_was_truncated_is_an_error() {
    let (_server, mut client, file) = guest();
    ftruncate(&file, PAGE).unwrap();
    ring(&mut client, READ, 0x11000, 4, 0);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, STATUS), TRUNCATED);
    ring(&mut client, WRITE, 0x10ffe, 4, 7);
    wait_done(&mut client, 2);
    assert_eq!(client.read_u32(0, STATUS), TRUNCATED);
    ring(&mut client, READ, 0x10000, 4, 0);
    wait_done(&mut client, 3);
    assert_eq!(client.read_u32(0, STATUS), 0, "what is left");
}

#[test]
fn a_reset_ends_dma_and_its_late_reply_is_ignored() {
    let (_server, mut client, _file) = guest();
    let id = unanswered(&mut client);
    client.request(DEVICE_RESET, &[]).ok();
    client.send_raw(&dma_reply(id, DMA_READ, 0x20000, 16, &[1; 16]), &[]);
    client.assert_in_sync();
    assert_eq!((client.read_u32(0, DONE), client.read_u32(0, SUM)), (0, 0));
    enable_bus_master(&mut client);
    let id = unanswered(&mut client);
    client.send_raw(&dma_reply(id, DMA_READ, 0x20000, 16, &[2; 16]), &[]);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, SUM), 32);
}

#[test]
fn a_client_that_goes_fails_dma_and_takes_its_memory_along() {
    let (server, mut client, _file) = guest();
    unanswered(&mut client);
    drop(client);
    let mut client = server.bus_master();
    assert_eq!((client.read_u32(0, DONE), client.read_u32(0, STATUS)), (1, DISCONNECTED));
    ring(&mut client, READ, 0x10000, 4, 0);
    wait_done(&mut client, 2);
    assert_eq!(client.read_u32(0, STATUS), NOT_MAPPED);
}

#[test]
fn a_thousand_accesses_wait_and_the_next_is_rejected() {
    let (_server, mut client, _file) = guest();
    client.write(0, ADDRESS, &0x20000_u64.to_le_bytes());
    client.write_u32(0, LENGTH, 1);
    for _ in 0..1024 {
        client.post(REGION_WRITE, &region_write(0, DOORBELL, &READ.to_le_bytes()), &[]);
    }
    take_dma(&mut client, DMA_READ);
    assert_eq!(client.read_u32(0, STATUS), 0);
    client.write_u32(0, DOORBELL, READ);
    assert_eq!(client.read_u32(0, STATUS), NOT_QUEUED);
}
