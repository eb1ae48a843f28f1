//! Regions that are mapped and unmapped, against a page table kept by hand.

use proptest::prelude::*;

use super::*;

const BOTH: DmaMapFlags = DmaMapFlags::READ.union(DmaMapFlags::WRITE);

#[test]
fn overlaps_are_rejected_wherever_they_are() {
    let mut space = DmaSpace::default();
    space.map(0x2000, 0x2000, BOTH, None).unwrap();
    for (address, size) in
        [(0x2000, 0x2000), (0, u64::MAX), (0x1000, 0x1001), (0x3fff, 1), (0x2800, 0x100)]
    {
        let refused = space.map(address, size, BOTH, None);
        assert!(refused.is_err(), "{address:#x} {size:#x}");
    }
    space.map(0x1000, 0x1000, BOTH, None).unwrap();
    space.map(0x4000, 0x1000, BOTH, None).unwrap();
    let error = space.map(0x2000, 0x2000, BOTH, None).unwrap_err();
    assert_eq!(error.errno(), Errno::EXIST);
}

#[test]
fn impossible_ranges_are_rejected_with_their_errno() {
    let mut space = DmaSpace::default();
    let mut errno = |address, size, access| {
        space.map(address, size, access, None).map_err(|error| error.errno())
    };
    assert_eq!(errno(0, 0, BOTH), Err(Errno::INVAL));
    assert_eq!(errno(u64::MAX, 2, BOTH), Err(Errno::INVAL));
    assert_eq!(errno(0, 4096, DmaMapFlags::empty()), Err(Errno::INVAL));
    assert_eq!(errno(0, MAX_DMA_REGION_SIZE + 1, BOTH), Err(Errno::NOSPC));
    assert_eq!(errno(u64::MAX, 1, BOTH), Ok(()));
    assert_eq!(errno(0, MAX_DMA_REGION_SIZE, BOTH), Ok(()));
}

#[test]
fn unmap_takes_whole_regions_only() {
    let mut space = DmaSpace::default();
    space.map(0x1000, 0x1000, BOTH, None).unwrap();
    space.map(0x2000, 0x1000, BOTH, None).unwrap();
    for (address, size) in [(0x1000, 0x800), (0x1800, 0x800), (0x1000, 0), (u64::MAX, 2)] {
        assert!(!space.unmap(address, size), "{address:#x} {size:#x}");
    }
    assert!(!space.unmap(0x1800, 0x1000) && !space.unmap(0, 0x2800));
    assert!(space.unmap(0x1000, 0x1000));
    assert!(space.unmap(0x1000, 0x1000), "nothing is left there");
    assert!(space.locate(0x2000, 1, BOTH).is_ok());
    assert!(space.unmap(0, u64::MAX));
    assert!(space.locate(0x2000, 1, BOTH).is_err());
}

#[test]
fn permissions_are_kept() {
    let mut space = DmaSpace::default();
    space.map(0, 4096, DmaMapFlags::READ, None).unwrap();
    assert!(space.locate(0, 1, DmaMapFlags::READ).is_ok());
    let refused = space.locate(0, 1, DmaMapFlags::WRITE).unwrap_err();
    assert_eq!(refused, DmaError::NotPermitted { address: 0 });
}

proptest! {
    /// Against a map from every page to its region, kept by hand.
    #[test]
    fn regions_behave_like_a_page_table(
        operations in prop::collection::vec((any::<bool>(), 0_u64..32, 1_u64..8), 1..200),
        probes in prop::collection::vec(0_u64..48, 20),
    ) {
        let mut space = DmaSpace::default();
        let mut pages: BTreeMap<u64, u64> = BTreeMap::new();
        for (map, first, count) in operations {
            let range = first..first + count;
            let (address, size) = (first << 12, count << 12);
            if map {
                let free = range.clone().all(|page| !pages.contains_key(&page));
                prop_assert_eq!(space.map(address, size, BOTH, None).is_ok(), free);
                if free {
                    pages.extend(range.map(|page| (page, first)));
                }
            } else {
                let cut = |start: &u64| {
                    let region = || pages.iter().filter(|(_, first)| *first == start);
                    let inside = region().filter(|(page, _)| range.contains(page)).count();
                    inside != 0 && inside != region().count()
                };
                let whole = !pages.values().any(cut);
                prop_assert_eq!(space.unmap(address, size), whole);
                if whole {
                    pages.retain(|page, _| !range.contains(page));
                }
            }
        }
        for page in probes {
            let found = space.locate((page << 12) + 5, 1, BOTH).is_ok();
            prop_assert_eq!(found, pages.contains_key(&page));
        }
    }
}
