//! Requests that are accepted, and those that are refused.

use proptest::prelude::*;
use zerocopy::IntoBytes;

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
                let accepted = region_read(access.as_bytes(), size).is_ok();
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
        assert_eq!(region_write(&payload, size).is_ok(), length == 4);
    }
}

#[test]
fn write_multi_counts_are_not_believed() {
    let entry = RegionWriteEntry { offset: 0, region: 0, count: 4, data: [0; 8] };
    let payload =
        |count: u64, entries: &[RegionWriteEntry]| [count.as_bytes(), entries.as_bytes()].concat();
    assert_eq!(region_write_multi(&payload(2, &[entry; 2]), size).unwrap().len(), 2);
    assert!(region_write_multi(&payload(0, &[]), size).is_ok());
    for shift in 0..8 {
        let shifted = [vec![0; shift], payload(1, &[entry])].concat();
        assert!(region_write_multi(&shifted[shift..], size).is_ok(), "{shift}");
    }
    for count in EDGES.into_iter().filter(|count| *count != 1) {
        assert!(region_write_multi(&payload(count, &[entry]), size).is_err());
    }
    for wrong in [
        RegionWriteEntry { count: 9, ..entry },
        RegionWriteEntry { offset: 4093, ..entry },
        RegionWriteEntry { region: 9, ..entry },
    ] {
        assert!(region_write_multi(&payload(2, &[entry, wrong]), size).is_err());
    }
}

#[test]
fn short_payloads_and_argsz_are_refused() {
    type Check = (&'static str, fn(&[u8]) -> bool, usize);
    let checks: [Check; 7] = [
        ("device_info", |p| device_info(p).is_ok(), 16),
        ("region_info", |p| region_info(p).is_ok(), 32),
        ("irq_info", |p| irq_info(p).is_ok(), 16),
        ("dma_map", |p| dma_map(p).is_ok(), 32),
        ("dma_unmap", |p| dma_unmap(p).is_ok(), 24),
        ("io_fds", |p| matches!(region_io_fds(p), Err(RequestError::NotOffered(_))), 16),
        ("feature", |p| matches!(device_feature(p), Err(RequestError::NoFeature(_))), 8),
    ];
    for (name, accepts, need) in checks {
        for length in [0, 1, 4, need - 1, need, need + 1, need + 100] {
            for argsz in [0, 1, need as u32 - 1, need as u32, need as u32 + 1, u32::MAX] {
                let mut payload = vec![0; length];
                if length >= 4 {
                    payload[..4].copy_from_slice(&argsz.to_ne_bytes());
                }
                let expected = length >= need && argsz as usize >= need;
                assert_eq!(accepts(&payload), expected, "{name}: {length} bytes, argsz {argsz}");
            }
        }
    }
}

#[test]
fn unmap_all_wants_everything_else_zero() {
    let unmap = |flags, address, size| {
        dma_unmap(DmaUnmap { argsz: 24, flags, address, size }.as_bytes()).is_ok()
    };
    assert!(unmap(0, 5, 5));
    assert!(unmap(2, 0, 0));
    assert!(!unmap(2, 1, 0) && !unmap(2, 0, 1));
    assert!(!unmap(1, 0, 4096) && !unmap(3, 0, 0) && !unmap(4, 0, 0) && !unmap(1 << 31, 0, 0));
}

/// SET_IRQS with three MSI-X vectors and one pin.
fn irqs(set: IrqSet, data: usize, fds: usize) -> Result<(), Errno> {
    let fd = || std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let fds = MessageFds { fds: (0..fds).map(|_| fd()).collect(), ..MessageFds::default() };
    let payload = [set.as_bytes(), &vec![1; data]].concat();
    let available = |index| match index {
        IrqIndex::Msix => 3,
        IrqIndex::Msi => 0,
        _ => 1,
    };
    set_irqs(&payload, &fds, available).map(|_| ()).map_err(|error| error.errno())
}

#[test]
fn set_irqs_follows_its_rules() {
    let set = |flags, index, start, count| IrqSet { argsz: 20, flags, index, start, count };
    let (none, boolean, eventfd) = (1, 2, 4);
    let (mask, unmask, trigger) = (8, 16, 32);
    let (intx, msi, msix, error, request) = (0, 1, 2, 3, 4);
    let fine = [
        (set(trigger | none, msix, 0, 0), 0, 0),
        (set(trigger | none, msix, 1, 0), 0, 0),
        (set(trigger | none, msix, u32::MAX, 0), 0, 0),
        (set(trigger | none, msix, 0, 3), 0, 0),
        (set(trigger | eventfd, msix, 1, 2), 0, 2),
        (set(trigger | eventfd, msix, 1, 2), 0, 0),
        (set(trigger | boolean, msix, 2, 1), 1, 0),
        (set(mask | none, msix, 0, 3), 0, 0),
        (set(unmask | boolean, intx, 0, 1), 1, 0),
        (set(unmask | eventfd, intx, 0, 1), 0, 1),
        (set(trigger | eventfd, error, 0, 1), 0, 1),
        (set(trigger | eventfd, request, 0, 1), 0, 1),
    ];
    for (set, data, fds) in fine {
        assert_eq!(irqs(set, data, fds), Ok(()), "{set:?}");
    }
    let wrong = [
        (IrqSet { argsz: 19, ..set(trigger | none, msix, 0, 0) }, 0, 0),
        (set(trigger | none, 5, 0, 0), 0, 0),
        (set(trigger | none, u32::MAX, 0, 0), 0, 0),
        (set(mask | unmask | none, msix, 0, 1), 0, 0),
        (set(trigger | none | boolean, msix, 0, 1), 1, 0),
        (set(trigger, msix, 0, 1), 0, 0),
        (set(none, msix, 0, 1), 0, 0),
        (set(64 | trigger | none, msix, 0, 1), 0, 0),
        (set(trigger | none, msi, 0, 0), 0, 0),
        (set(trigger | none, msix, 0, 4), 0, 0),
        (set(trigger | none, msix, 1, u32::MAX), 0, 0),
        (set(trigger | none, msix, u32::MAX, 1), 0, 0),
        (set(mask | none, error, 0, 1), 0, 0),
        (set(trigger | eventfd, request, 0, 2), 0, 2),
        (set(mask | none, msix, 0, 0), 0, 0),
        (set(trigger | eventfd, msix, 0, 0), 0, 0),
        (set(trigger | boolean, msix, 0, 2), 1, 0),
        (set(trigger | boolean, msix, 0, 2), 3, 0),
        (set(trigger | none, msix, 0, 1), 0, 1),
        (set(trigger | boolean, msix, 0, 1), 1, 1),
        (set(trigger | eventfd, msix, 0, 2), 0, 1),
        (set(trigger | eventfd, msix, 0, 2), 0, 3),
        (set(mask | eventfd, intx, 0, 1), 0, 1),
        (set(unmask | eventfd, msix, 0, 1), 0, 1),
    ];
    for (set, data, fds) in wrong {
        assert_eq!(irqs(set, data, fds), Err(Errno::INVAL), "{set:?} {data} {fds}");
    }
}

proptest! {
    #[test]
    fn any_payload_is_accepted_or_refused(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = dma_map(&payload);
        let _ = dma_unmap(&payload);
        let _ = region_info(&payload);
        let _ = region_write_multi(&payload, size);
        if let Ok((access, data)) = region_write(&payload, size) {
            prop_assert_eq!(access.count as usize, data.len());
        }
        if let Ok(request) = set_irqs(&payload, &MessageFds::default(), |_| 3) {
            prop_assert!(request.vectors().all(|vector| vector < 3));
        }
    }
}
