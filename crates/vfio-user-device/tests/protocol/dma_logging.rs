//! Which pages of guest memory a device has written, as a client learns it.

use rustix::io::Errno;

use crate::common::*;
use crate::device::*;
use crate::migration::set_state;
use crate::served::{RunningServer, ring};

const PAGE: u64 = 4096;
/// Memory in a file.
const SHARED: u64 = 0x10 * PAGE;
/// Memory without one.
const BY_MESSAGE: u64 = 0x40 * PAGE;
/// Bytes of each.
const SIZE: u64 = 0x10 * PAGE;

fn logging() -> (RunningServer, Client) {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    client.map(SHARED, SIZE, Some(&memory(SIZE)));
    client.map(BY_MESSAGE, SIZE, None);
    (server, client)
}

fn control(page_size: u64, ranges: &[(u64, u64)]) -> Vec<u8> {
    let head = Bytes::new().u64(page_size).u32(ranges.len() as u32).u32(0);
    ranges.iter().fold(head, |bytes, (iova, length)| bytes.u64(*iova).u64(*length)).0
}

fn start(client: &mut Client, page_size: u64) -> Reply {
    let payload = feature(SET | DMA_LOGGING_START, &control(page_size, &[]), 0);
    client.request(DEVICE_FEATURE, &payload)
}

#[track_caller]
fn written(client: &mut Client, iova: u64, length: u64, page_size: u64) -> u64 {
    let payload = dma_logging_report(iova, length, page_size);
    let reply = client.request(DEVICE_FEATURE, &payload).ok();
    assert_eq!(reply[4..32], payload[4..32]);
    assert_eq!((reply.len(), u32_at(&reply, 0)), (40, 40));
    u64_at(&reply, 32)
}

/// Lets the device write, and waits until it has.
fn write_pages(client: &mut Client, first: u64, pages: u32) {
    let done = client.read_u32(0, DONE);
    ring(client, WRITE, SHARED + first * PAGE, pages * PAGE as u32, 0xab);
    wait_until("it is written", || client.read_u32(0, DONE) == done + 1);
    assert_eq!(client.read_u32(0, STATUS), 0);
}

#[test]
fn written_pages_are_reported_once() {
    let (_server, mut client) = logging();
    start(&mut client, PAGE).ok();
    assert_eq!(written(&mut client, SHARED, SIZE, PAGE), 0);
    write_pages(&mut client, 0, 1);
    write_pages(&mut client, 6, 4);
    assert_eq!(written(&mut client, SHARED, SIZE, PAGE), 0b11_1100_0001);
    assert_eq!(written(&mut client, SHARED, SIZE, PAGE), 0);
    write_pages(&mut client, 6, 4);
    assert_eq!(written(&mut client, SHARED, SIZE, 2 * PAGE), 0b1_1000);
}

#[test]
fn reads_and_writes_by_message_are_not_reported() {
    let (_server, mut client) = logging();
    start(&mut client, PAGE).ok();
    ring(&mut client, READ, SHARED, 4, 0);
    wait_until("it is read", || client.read_u32(0, DONE) == 1);
    ring(&mut client, WRITE, BY_MESSAGE, 4, 1);
    let write = client.receive();
    client.send_raw(&dma_reply(write.id, DMA_WRITE, BY_MESSAGE, 4, &[]), &[]);
    wait_until("it is written", || client.read_u32(0, DONE) == 2);
    assert_eq!(written(&mut client, SHARED, SIZE, PAGE), 0);
    assert_eq!(written(&mut client, BY_MESSAGE, SIZE, PAGE), 0);
}

#[test]
fn the_last_writes_are_reported_when_the_device_stands_still() {
    let (_server, mut client) = logging();
    start(&mut client, PAGE).ok();
    ring(&mut client, WRITE, SHARED, SIZE as u32, 1);
    set_state(&mut client, MIG_STOP);
    assert_eq!(written(&mut client, SHARED, SIZE, PAGE), 0xffff);
}

#[test]
fn a_log_starts_once_and_with_a_possible_page_size() {
    let (_server, mut client) = logging();
    assert_eq!(start(&mut client, 0).errno(), Errno::INVAL);
    assert_eq!(start(&mut client, 4097).errno(), Errno::INVAL);
    let reply = start(&mut client, 512).ok();
    assert_eq!(u64_at(&reply, 8), PAGE, "the smallest one is used, and told");
    start(&mut client, PAGE).ok();
    assert_eq!(start(&mut client, 2 * PAGE).errno(), Errno::INVAL, "it goes on");
    write_pages(&mut client, 0, 1);
    let stop = feature(SET | DMA_LOGGING_STOP, &control(PAGE, &[]), 0);
    assert_eq!(client.request(DEVICE_FEATURE, &stop).ok(), stop);
    let bare = feature(SET | DMA_LOGGING_STOP, &[], 0);
    assert_eq!(client.request(DEVICE_FEATURE, &bare).ok(), bare);
    start(&mut client, PAGE).ok();
    assert_eq!(written(&mut client, SHARED, SIZE, PAGE), 0, "what was logged is gone");
}

#[test]
fn ranges_to_log_are_checked() {
    let (_server, mut client) = logging();
    let request = |data: &[u8]| feature(SET | DMA_LOGGING_START, data, 0);
    for wrong in [
        control(PAGE, &[(0, 0)]),
        control(PAGE, &[(0, PAGE), (u64::MAX, 2)]),
        control(PAGE, &[])[..15].to_vec(),
        Bytes::new().u64(PAGE).u32(u32::MAX).u32(0).raw(&[0; 16]).0,
        control(PAGE, &[(0, PAGE)])[..24].to_vec(),
    ] {
        assert_eq!(client.refused(DEVICE_FEATURE, &request(&wrong)), Errno::INVAL, "{wrong:?}");
    }
    let right = request(&control(PAGE, &[(SHARED, PAGE), (BY_MESSAGE, PAGE)]));
    assert_eq!(client.request(DEVICE_FEATURE, &right).ok(), right);
}

#[test]
fn reports_are_checked() {
    let (_server, mut client) = logging();
    let right = dma_logging_report(SHARED, SIZE, PAGE);
    assert_eq!(client.refused(DEVICE_FEATURE, &right), Errno::INVAL, "nothing is logged");
    start(&mut client, PAGE).ok();
    for (iova, length, page_size) in [
        (SHARED, SIZE, 0),
        (SHARED, SIZE, 3 * PAGE),
        (SHARED, SIZE, 1 << 24),
        (SHARED, 0, PAGE),
        (u64::MAX, 2, 1),
        (0, 1 << 40, PAGE),
        (0, u64::MAX, 1),
    ] {
        let wrong = dma_logging_report(iova, length, page_size);
        assert_eq!(
            client.refused(DEVICE_FEATURE, &wrong),
            Errno::INVAL,
            "{length:#x} {page_size:#x}"
        );
    }
    let no_room = feature(GET | DMA_LOGGING_REPORT, &right[8..], 31);
    assert_eq!(client.refused(DEVICE_FEATURE, &no_room), Errno::INVAL);
    assert_eq!(written(&mut client, 0xdead_beef, PAGE, PAGE), 0, "where nothing is");
}

#[test]
fn the_next_client_has_no_log() {
    let (server, mut client) = logging();
    start(&mut client, PAGE).ok();
    drop(client);
    let mut client = server.client();
    let report = dma_logging_report(SHARED, SIZE, PAGE);
    assert_eq!(client.refused(DEVICE_FEATURE, &report), Errno::INVAL);
}
