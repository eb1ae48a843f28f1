//! What the tests of all command families share.

/// Tries payloads of several lengths and values of argsz with a check that wants `need` bytes.
pub(crate) fn checks_argsz(name: &str, accepts: fn(&[u8]) -> bool, need: usize) {
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
