//! Regions that a client may map, and messages to them.

use std::os::fd::AsFd;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::common::*;
use crate::served::RunningServer;

const MMAP: u32 = 4;
const CAPS: u32 = 8;

#[test]
fn argsz_without_room_for_capabilities_gets_32_bytes_and_the_size_needed() {
    let server = RunningServer::everything();
    let reply = server.client().request(GET_REGION_INFO, &region_info(32, 2));
    assert!(reply.fds.is_empty());
    let info = reply.ok();
    assert_eq!(info.len(), 32);
    assert_eq!(u32_at(&info, 0), 80);
    assert_eq!(u32_at(&info, 4) & CAPS, 0);
    assert_eq!(u32_at(&info, 12), 0, "cap_offset");
}

#[test]
fn argsz_one_short_of_the_capabilities_gets_none() {
    let server = RunningServer::everything();
    let info = server.client().request(GET_REGION_INFO, &region_info(79, 2)).ok();
    assert_eq!((info.len(), u32_at(&info, 0)), (32, 80));
}

#[test]
fn argsz_with_room_gets_both_areas_and_a_descriptor() {
    let server = RunningServer::everything();
    let reply = server.client().request(GET_REGION_INFO, &region_info(80, 2));
    assert_eq!(reply.fds.len(), 1);
    let info = reply.ok();
    let expected = Bytes::new()
        .u32(80)
        .u32(3 | MMAP | CAPS)
        .u32(2)
        .u32(32)
        .u64(0x4000)
        .u64(0)
        .u16(1)
        .u16(1)
        .u32(0)
        .u32(2)
        .u32(0)
        .u64(0x1000)
        .u64(0x1000)
        .u64(0x3000)
        .u64(0x1000);
    assert_eq!(info, expected.0);
}

#[test]
fn a_wholly_mappable_region_needs_no_capability() {
    let server = RunningServer::everything();
    let reply = server.client().request(GET_REGION_INFO, &region_info(32, 4));
    assert_eq!(reply.fds.len(), 1);
    let info = reply.ok();
    assert_eq!(u32_at(&info, 4), 3 | MMAP);
    assert_eq!(u32_at(&info, 12), 0, "cap_offset");
}

#[test]
fn the_upper_half_of_a_64_bit_bar_is_no_region() {
    let server = RunningServer::everything();
    let info = server.client().request(GET_REGION_INFO, &region_info(32, 3)).ok();
    assert_eq!((u32_at(&info, 4), u64_at(&info, 16)), (0, 0));
}

#[test]
fn messages_and_the_mapping_see_the_same_bytes() {
    let server = RunningServer::everything();
    let mut client = server.client();
    let fd = client.request(GET_REGION_INFO, &region_info(32, 4)).fds.remove(0);
    let length = 0x2000;
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: a new mapping, of a file whose size is sealed.
    let mapped = unsafe { mmap(std::ptr::null_mut(), length, protection, flags, fd.as_fd(), 0) };
    let mapped = mapped.unwrap().cast::<u8>();
    client.write(4, 0x1ffc, &[1, 2, 3, 4]);
    // SAFETY: within the mapping; the server has answered, so the server does not write.
    let seen = unsafe { mapped.add(0x1ffd).read_volatile() };
    assert_eq!(seen, 2);
    // SAFETY: as above.
    unsafe { mapped.add(8).write_volatile(9) };
    assert_eq!(client.read(4, 7, 3), [0, 9, 0]);
    // SAFETY: mapped above, and not used any more.
    unsafe { munmap(mapped.cast(), length) }.unwrap();
}

#[test]
fn an_access_across_mappable_and_trapped_parts_is_taken_apart() {
    let server = RunningServer::everything();
    let mut client = server.client();
    client.write(2, 0x0ffe, &[1, 2, 3, 4]);
    assert_eq!(client.read(2, 0x0ffe, 4), [0, 0, 3, 4]);
}

#[test]
fn a_client_cannot_resize_the_mappable_file() {
    let server = RunningServer::everything();
    let fd = server.client().request(GET_REGION_INFO, &region_info(32, 4)).fds.remove(0);
    assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    assert!(rustix::fs::ftruncate(&fd, 1 << 20).is_err());
}

#[test]
fn write_multi_writes_in_order_and_returns_the_count() {
    let server = RunningServer::everything();
    let mut client = server.client();
    let entry = |offset: u64, count: u32, data: u64| {
        Bytes::new().u64(offset).u32(0).u32(count).u64(data.to_le()).0
    };
    let payload = [
        Bytes::new().u64(3).0,
        entry(0, 4, 0x1111_1111),
        entry(0, 4, 0x2222_2222),
        entry(8, 8, 0x0123_4567_89ab_cdef),
    ];
    let reply = client.request(REGION_WRITE_MULTI, &payload.concat()).ok();
    assert_eq!(reply, 3_u64.to_ne_bytes());
    assert_eq!(client.read_u32(0, 0), 0x2222_2222);
    assert_eq!(client.read(0, 8, 8), 0x0123_4567_89ab_cdef_u64.to_le_bytes());
}

#[test]
fn write_multi_with_one_bad_entry_writes_nothing() {
    let server = RunningServer::everything();
    let mut client = server.client();
    let good = Bytes::new().u64(0).u32(0).u32(4).u64(5).0;
    let bad = Bytes::new().u64(4093).u32(0).u32(4).u64(5).0;
    let payload = [2_u64.to_ne_bytes().to_vec(), good, bad].concat();
    assert_eq!(client.refused(REGION_WRITE_MULTI, &payload), rustix::io::Errno::INVAL);
    assert_eq!(client.read_u32(0, 0), 0);
}

#[test]
fn the_timer_fires_while_the_client_is_silent() {
    let server = RunningServer::everything();
    let mut client = server.client();
    client.write_u32(0, crate::device::TIMER, 1);
    wait_until("the timer has fired", || client.read_u32(0, crate::device::FIRED) == 1);
}

#[test]
fn each_timer_has_a_deadline_of_its_own() {
    let server = RunningServer::everything();
    let mut client = server.client();
    for (id, milliseconds) in [(1, 20_000), (2, 40), (3, 20), (4, 20_000)] {
        client.write_u32(0, crate::device::TIMER, id << 16 | milliseconds);
    }
    client.write_u32(0, crate::device::TIMER, 1 << 16);
    wait_until("three timers have fired", || client.read_u32(0, crate::device::FIRED) == 3);
    assert_eq!(client.read_u32(0, crate::device::FIRED_ORDER), 0x132);
    client.request(DEVICE_RESET, &[]).ok();
    client.write_u32(0, crate::device::TIMER, 1 << 16);
    wait_until("a timer has fired", || client.read_u32(0, crate::device::FIRED) == 1);
    assert_eq!(client.read_u32(0, crate::device::FIRED_ORDER), 1, "the fourth went with the reset");
}

#[test]
fn the_timer_fires_although_half_a_message_is_here() {
    let server = RunningServer::everything();
    let mut client = server.client();
    let event = event();
    let vector = set_irqs(TRIGGER | DATA_EVENTFD, MSIX, crate::device::TIMER_VECTOR.into(), 1, &[]);
    client.request_with(SET_IRQS, &vector, &[event.as_fd()]).ok();
    client.write_u32(0, crate::device::TIMER, 10);
    let read = message(1, REGION_READ, &access(0, crate::device::FIRED, 4));
    client.send_raw(&read[..7], &[]);
    wait_readable(&event, "the timer's interrupt");
    client.send_raw(&read[7..], &[]);
    client.receive().ok();
    assert_eq!(client.read_u32(0, crate::device::FIRED), 1);
}
