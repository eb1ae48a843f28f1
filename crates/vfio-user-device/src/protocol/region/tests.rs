//! Accesses that are accepted, and those that are rejected.

use proptest::prelude::*;

use super::*;

/// The numbers that lengths and counts are tried with.
const EDGES: [u64; 9] = [0, 1, 15, 16, 4095, 4096, 1 << 20, u32::MAX as u64, u64::MAX];

fn size(region: u32) -> u64 {
    if region == 0 { 4096 } else { 0 }
}

#[test]
fn region_accesses_are_held_within_their_region() {
    for offset in EDGES {
        for count in EDGES.into_iter().filter_map(|edge| u32::try_from(edge).ok()) {
            for region in [0, 1, 8, 9, u32::MAX] {
                let access = RegionAccess { offset, region, count };
                let fits = u128::from(offset) + u128::from(count) <= u128::from(size(region));
                let accepted = parse_read(access.as_bytes(), size).is_ok();
                assert_eq!(accepted, fits && region < 9, "{access:?}");
            }
        }
    }
}

#[test]
fn writes_need_exactly_their_data() {
    let access = RegionAccess { offset: 0, region: 0, count: 4 };
    for length in 0..10 {
        let payload = [access.as_bytes(), &vec![0; length]].concat();
        assert_eq!(parse_write(&payload, size).is_ok(), length == 4);
    }
}

#[test]
fn write_multi_counts_are_not_believed() {
    let entry = RegionWriteEntry { offset: 0, region: 0, count: 4, data: [0; 8] };
    let payload =
        |count: u64, entries: &[RegionWriteEntry]| [count.as_bytes(), entries.as_bytes()].concat();
    assert_eq!(parse_write_multi(&payload(2, &[entry; 2]), size).unwrap().len(), 2);
    assert!(parse_write_multi(&payload(0, &[]), size).is_ok());
    for shift in 0..8 {
        let shifted = [vec![0; shift], payload(1, &[entry])].concat();
        assert!(parse_write_multi(&shifted[shift..], size).is_ok(), "{shift}");
    }
    for count in EDGES.into_iter().filter(|count| *count != 1) {
        assert!(parse_write_multi(&payload(count, &[entry]), size).is_err());
    }
    for wrong in [
        RegionWriteEntry { count: 9, ..entry },
        RegionWriteEntry { offset: 4093, ..entry },
        RegionWriteEntry { region: 9, ..entry },
    ] {
        assert!(parse_write_multi(&payload(2, &[entry, wrong]), size).is_err());
    }
}

proptest! {
    #[test]
    fn any_payload_is_accepted_or_rejected(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse_write_multi(&payload, size);
        if let Ok((access, data)) = parse_write(&payload, size) {
            prop_assert_eq!(access.count as usize, data.len());
        }
    }
}
