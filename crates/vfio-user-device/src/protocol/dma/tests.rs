//! Maps and unmaps as they are accepted, and as they are rejected.

use proptest::prelude::*;

use super::*;
use crate::protocol::request::tests::checks_argsz;

#[test]
fn short_payloads_and_argsz_are_rejected() {
    checks_argsz("dma_map", |payload| parse_map(payload).is_ok(), 32);
    checks_argsz("dma_unmap", |payload| parse_unmap(payload).is_ok(), 24);
}

#[test]
fn unmap_all_wants_everything_else_zero() {
    let unmap = |flags, address, size| {
        parse_unmap(DmaUnmap { argsz: 24, flags, address, size }.as_bytes()).is_ok()
    };
    assert!(unmap(0, 5, 5));
    assert!(unmap(2, 0, 0));
    assert!(!unmap(2, 1, 0) && !unmap(2, 0, 1));
    assert!(!unmap(1, 0, 4096) && !unmap(3, 0, 0) && !unmap(4, 0, 0) && !unmap(1 << 31, 0, 0));
}

proptest! {
    #[test]
    fn any_payload_is_accepted_or_rejected(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse_map(&payload);
        let _ = parse_unmap(&payload);
    }
}
