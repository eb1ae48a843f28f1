//! REGION_READ, REGION_WRITE and REGION_WRITE_MULTI.

use rustix::io::Errno;

use crate::common::*;
use crate::daemon::Daemon;

/// Numbers to try lengths and counts with.
const COUNTS: [u32; 8] =
    [4097, 1 << 20, (1 << 20) + 1, 1 << 30, 1 << 31, u32::MAX - 1, u32::MAX, 257];
const OFFSETS: [u64; 6] = [4096, 1 << 32, 1 << 63, u64::MAX - 4, u64::MAX - 1, u64::MAX];

#[test]
fn random_follows_the_seed() {
    let daemon = Daemon::glibc();
    let mut client = daemon.client();
    assert_eq!(
        [0; 3].map(|offset| client.read_u32(0, offset)),
        [1804289383, 846930886, 1681692777]
    );
    client.write_u32(0, 4, 1);
    assert_eq!(client.read_u32(0, 0), 1804289383);
}

#[test]
fn a_read_of_no_bytes_is_a_header_and_draws_no_number() {
    let daemon = Daemon::glibc();
    let mut client = daemon.client();
    assert!(client.request(REGION_READ, &access(0, 0, 0)).ok().is_empty());
    assert!(client.request(REGION_READ, &access(0, 4096, 0)).ok().is_empty());
    assert_eq!(client.read_u32(0, 0), 1804289383);
}

#[test]
fn a_write_of_no_bytes_is_a_header() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    assert!(client.request(REGION_WRITE, &access(0, 0, 0)).ok().is_empty());
}

#[test]
fn the_whole_page_can_be_read_at_once() {
    let daemon = Daemon::glibc();
    let page = daemon.client().read(0, 0, 4096);
    assert_eq!(page[..4], 1804289383_u32.to_le_bytes());
    assert!(page[4..].iter().all(|byte| *byte == 0));
}

#[test]
fn counts_beyond_the_region_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for count in COUNTS {
        for region in [0, CONFIG] {
            if u64::from(count) > if region == 0 { 4096 } else { 256 } {
                assert_eq!(client.refused(REGION_READ, &access(region, 0, count)), Errno::INVAL);
            }
        }
    }
}

#[test]
fn offsets_beyond_the_region_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for offset in OFFSETS {
        for region in 0..9 {
            assert_eq!(client.refused(REGION_READ, &access(region, offset, 4)), Errno::INVAL);
            let write = region_write(region, offset, &[0; 4]);
            assert_eq!(client.refused(REGION_WRITE, &write), Errno::INVAL);
        }
    }
}

#[test]
fn the_last_byte_is_in_and_the_next_is_out() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.read(0, 4095, 1);
    client.read(CONFIG, 255, 1);
    client.write(0, 4092, &[0; 4]);
    assert_eq!(client.refused(REGION_READ, &access(0, 4095, 2)), Errno::INVAL);
    assert_eq!(client.refused(REGION_READ, &access(CONFIG, 255, 2)), Errno::INVAL);
    assert_eq!(client.refused(REGION_WRITE, &region_write(0, 4093, &[0; 4])), Errno::INVAL);
}

#[test]
fn regions_that_the_device_does_not_have_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for region in [1, 2, 3, 4, 5, 6, 8, 9, 10, u32::MAX] {
        assert_eq!(client.refused(REGION_READ, &access(region, 0, 4)), Errno::INVAL);
        assert_eq!(client.refused(REGION_WRITE, &region_write(region, 0, &[0; 4])), Errno::INVAL);
    }
}

#[test]
fn short_payloads_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for length in 0..16 {
        assert_eq!(client.refused(REGION_READ, &access(0, 0, 4)[..length]), Errno::INVAL);
        assert_eq!(client.refused(REGION_WRITE, &access(0, 0, 4)[..length]), Errno::INVAL);
    }
}

#[test]
fn writes_with_more_or_less_data_than_they_say_are_refused() {
    let daemon = Daemon::glibc();
    let mut client = daemon.client();
    for (count, length) in [(4, 0), (4, 3), (4, 5), (0, 1), (4096, 4), (u32::MAX, 4)] {
        let payload = [access(0, 4, count), vec![9; length]].concat();
        assert_eq!(client.refused(REGION_WRITE, &payload), Errno::INVAL, "{count} {length}");
    }
    assert_eq!(client.read_u32(0, 0), 1804289383, "not seeded");
}

#[test]
fn read_only_configuration_space_stays_as_it_is() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.write(CONFIG, 0, &[0xff; 4]);
    client.write(CONFIG, 0x2c, &[0xff; 4]);
    assert_eq!(client.read(CONFIG, 0, 4), [0x34, 0x12, 0xfe, 0xca]);
    assert_eq!(client.read(CONFIG, 8, 4), [0x10, 0, 0xff, 0]);
    assert_eq!(client.read(CONFIG, 0x2c, 4), [0xf4, 0x1a, 0, 0x11]);
}

#[test]
fn bar_sizing_shows_one_page() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.write(CONFIG, 0x10, &[0xff; 4]);
    assert_eq!(client.read_u32(CONFIG, 0x10), 0xffff_f000);
    for offset in (0x14..0x28).step_by(4) {
        client.write(CONFIG, offset, &[0xff; 4]);
        assert_eq!(client.read_u32(CONFIG, offset), 0);
    }
    client.write(CONFIG, 0x30, &[0xff; 4]);
    assert_eq!(client.read_u32(CONFIG, 0x30), 0, "no ROM");
}

#[test]
fn write_multi_seeds_in_order() {
    let daemon = Daemon::glibc();
    let mut client = daemon.client();
    let entry = |seed: u32| Bytes::new().u64(4).u32(0).u32(4).u64(u64::from(seed).to_le()).0;
    let payload = [2_u64.to_ne_bytes().to_vec(), entry(77), entry(1)].concat();
    assert_eq!(client.request(REGION_WRITE_MULTI, &payload).ok(), 2_u64.to_ne_bytes());
    assert_eq!(client.read_u32(0, 0), 1804289383);
}

#[test]
fn write_multi_of_nothing_is_fine() {
    let daemon = Daemon::start(&[]);
    let reply = daemon.client().request(REGION_WRITE_MULTI, &0_u64.to_ne_bytes()).ok();
    assert_eq!(reply, 0_u64.to_ne_bytes());
}

#[test]
fn write_multi_counts_that_lie_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let entry = Bytes::new().u64(8).u32(0).u32(4).u64(0).0;
    for count in [0, 2, 1 << 32, u64::MAX / 24, u64::MAX / 24 + 1, u64::MAX] {
        let payload = [count.to_ne_bytes().to_vec(), entry.clone()].concat();
        assert_eq!(client.refused(REGION_WRITE_MULTI, &payload), Errno::INVAL, "{count:#x}");
    }
}

#[test]
fn write_multi_entries_that_cannot_be_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for (offset, region, count) in
        [(0, 0, 9), (0, 0, u32::MAX), (4096, 0, 1), (u64::MAX, 0, 8), (0, 1, 4), (0, 9, 4)]
    {
        let entry = Bytes::new().u64(1).u64(offset).u32(region).u32(count).u64(0).0;
        assert_eq!(client.refused(REGION_WRITE_MULTI, &entry), Errno::INVAL);
    }
}
