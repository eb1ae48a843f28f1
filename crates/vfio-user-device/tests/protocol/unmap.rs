//! DMA_UNMAP while the device accesses memory.

use std::time::Instant;

use rustix::io::pread;

use crate::common::*;
use crate::device::*;
use crate::dma::{PAGE, guest, unanswered, wait_done};
use crate::served::ring;

#[test]
fn another_region_is_unmapped_while_a_dma_read_is_unanswered() {
    let (_server, mut client, _file) = guest();
    let id = unanswered(&mut client);
    let unmap = dma_unmap(0, 0x10000, 2 * PAGE);
    assert_eq!(client.request(DMA_UNMAP, &unmap).ok(), unmap);
    client.send_raw(&dma_reply(id, DMA_READ, 0x20000, 16, &[1; 16]), &[]);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, STATUS), 0);
}

#[test]
fn the_region_itself_is_unmapped_only_after_the_reply() {
    let (_server, mut client, _file) = guest();
    let dma = unanswered(&mut client);
    let unmap = dma_unmap(0, 0x20000, 2 * PAGE);
    // Glued, so that the reply is there before the server's timeout.
    let reply = dma_reply(dma, DMA_READ, 0x20000, 16, &[1; 16]);
    let stream = [
        message(1, DMA_UNMAP, &unmap),
        message(2, REGION_READ, &access(0, DONE, 4)),
        reply,
        message(3, REGION_READ, &access(0, DONE, 4)),
    ];
    client.send_raw(&stream.concat(), &[]);
    let before = client.receive();
    assert_eq!((before.id, u32_at(&before.ok(), 16)), (2, 0));
    let unmapped = client.receive();
    assert_eq!((unmapped.id, unmapped.ok()), (1, unmap));
    let after = client.receive();
    assert_eq!((after.id, u32_at(&after.ok(), 16)), (3, 1));
    assert_eq!(client.read_u32(0, STATUS), 0);
}

#[test]
fn an_unmap_does_not_wait_for_ever_for_the_reply() {
    let (_server, mut client, _file) = guest();
    let dma = unanswered(&mut client);
    let unmap = dma_unmap(0, 0x20000, 2 * PAGE);
    let begun = Instant::now();
    assert_eq!(client.request(DMA_UNMAP, &unmap).ok(), unmap);
    // The client's own timeout is 5 s.
    assert!(begun.elapsed().as_secs() < 5);
    assert_eq!((client.read_u32(0, DONE), client.read_u32(0, STATUS)), (1, NOT_MAPPED));
    client.send_raw(&dma_reply(dma, DMA_READ, 0x20000, 16, &[1; 16]), &[]);
    client.assert_in_sync();
    assert_eq!((client.read_u32(0, DONE), client.read_u32(0, SUM)), (1, 0), "a late reply");
}

#[test]
fn every_unmap_that_waits_is_answered() {
    let (_server, mut client, _file) = guest();
    unanswered(&mut client);
    let (region, everything) = (dma_unmap(0, 0x20000, 2 * PAGE), dma_unmap(2, 0, 0));
    let stream = [message(1, DMA_UNMAP, &region), message(2, DMA_UNMAP, &everything)].concat();
    client.send_raw(&stream, &[]);
    let replies = [client.receive(), client.receive()].map(|reply| (reply.id, reply.ok()));
    assert_eq!(replies, [(1, region), (2, everything)]);
    client.assert_in_sync();
}

#[test]
fn more_unmaps_than_are_kept_give_the_access_up() {
    let (_server, mut client, _file) = guest();
    unanswered(&mut client);
    let posted = |_| [header(9, DMA_UNMAP, 40, NO_REPLY), dma_unmap(2, 0, 0)].concat();
    let question = |id| message(id, REGION_READ, &access(0, DONE, 4));
    // All of it is there before the time is over.
    let stream: Vec<Vec<u8>> = (0..64).map(posted).chain([question(1)]).collect();
    client.send_raw(&stream.concat(), &[]);
    assert_eq!(u32_at(&client.receive().ok(), 16), 0);
    client.send_raw(&[posted(0), question(2)].concat(), &[]);
    assert_eq!(u32_at(&client.receive().ok(), 16), 1);
    assert_eq!(client.read_u32(0, STATUS), NOT_MAPPED);
}

#[test]
fn an_unmap_is_answered_although_the_client_never_stops_sending() {
    let (_server, mut client, _file) = guest();
    unanswered(&mut client);
    let unmap = dma_unmap(0, 0x20000, 2 * PAGE);
    client.send(DMA_UNMAP, &unmap, &[]);
    // Short to send, long to serve: the socket is never empty.
    let flood = [header(9, REGION_READ, 32, NO_REPLY), access(0, 0, 4096)].concat();
    let begun = Instant::now();
    while client.is_quiet() {
        assert!(begun.elapsed() < RECEIVE_TIMEOUT, "the unmap is not answered");
        client.send_raw(&flood, &[]);
    }
    assert_eq!(client.receive().ok(), unmap);
}

#[test]
fn a_posted_unmap_that_waits_is_never_answered() {
    let (_server, mut client, _file) = guest();
    let dma = unanswered(&mut client);
    client.post(DMA_UNMAP, &dma_unmap(0, 0x20000, 2 * PAGE), &[]);
    client.send_raw(&dma_reply(dma, DMA_READ, 0x20000, 16, &[1; 16]), &[]);
    wait_done(&mut client, 1);
    client.assert_in_sync();
}

#[test]
fn after_an_unmap_the_memory_is_not_touched() {
    let (_server, mut client, file) = guest();
    client.request(DMA_UNMAP, &dma_unmap(0, 0x10000, 2 * PAGE)).ok();
    ring(&mut client, WRITE, 0x10000, 4, 7);
    wait_done(&mut client, 1);
    assert_eq!(client.read_u32(0, STATUS), NOT_MAPPED);
    let mut bytes = [1; 4];
    pread(&file, &mut bytes, 0).unwrap();
    assert_eq!(bytes, [0; 4]);
}

#[test]
fn a_reset_lets_an_unmap_go_that_waits() {
    let (_server, mut client, _file) = guest();
    unanswered(&mut client);
    let unmap = dma_unmap(0, 0x20000, 2 * PAGE);
    let stream = [message(1, DMA_UNMAP, &unmap), message(2, DEVICE_RESET, &[])];
    client.send_raw(&stream.concat(), &[]);
    let mut ids = [client.receive(), client.receive()].map(|reply| reply.id);
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    client.assert_in_sync();
}
