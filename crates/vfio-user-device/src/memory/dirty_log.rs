//! Which pages of guest memory the device has written: what a client asks for while it copies its
//! guest's memory to another host.
//!
//! A log that grew with the guest's memory would be a way to make the server grow. So it has a
//! fixed number of entries at most. When they run out, its pages become larger, and a report says
//! more than was written, but never less.

use std::collections::BTreeMap;

/// Bits of an entry, one a page.
const ENTRY_BITS: u64 = u64::BITS as u64;
/// Most entries: those of 64 GiB in pages of 4 KiB, wherever they lie. Takes 6 MiB or so.
const MAX_ENTRIES: usize = 1 << 18;
/// The smallest page, in bytes.
const MIN_PAGE: u64 = 4096;
/// The largest one.
const MAX_PAGE: u64 = 1 << 30;

/// The written pages since they were last reported.
#[derive(Debug)]
pub(crate) struct DirtyLog {
    /// Bytes of a page as the client was told.
    page_size: u64,
    /// Pages are at least as large: two to the power of this.
    shift: u32,
    /// Bits of pages by the number of their first one, divided by [`ENTRY_BITS`].
    entries: BTreeMap<u64, u64>,
    max_entries: usize,
}

impl DirtyLog {
    /// A log with the page size that is nearest to the client's wish; `None` if that makes no sense.
    pub fn new(wished: u64) -> Option<Self> {
        let page_size = wished.is_power_of_two().then(|| wished.clamp(MIN_PAGE, MAX_PAGE))?;
        let shift = page_size.trailing_zeros();
        Some(DirtyLog { page_size, shift, entries: BTreeMap::new(), max_entries: MAX_ENTRIES })
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// Bytes from an address on were written.
    pub fn add(&mut self, address: u64, length: u64) {
        let Some(rest) = length.checked_sub(1) else { return };
        let last = address.saturating_add(rest) >> self.shift;
        let mut page = address >> self.shift;
        while page <= last {
            let bit = page % ENTRY_BITS;
            let count = (last - page).saturating_add(1).min(ENTRY_BITS - bit);
            *self.entries.entry(page / ENTRY_BITS).or_default() |= bits(bit, count);
            let Some(next) = page.checked_add(count) else { break };
            page = next;
        }
        while self.entries.len() > self.max_entries {
            self.enlarge_pages();
        }
    }

    /// Makes one page of each entry.
    fn enlarge_pages(&mut self) {
        self.shift += ENTRY_BITS.trailing_zeros();
        let entries = std::mem::take(&mut self.entries);
        for number in entries.into_keys() {
            *self.entries.entry(number / ENTRY_BITS).or_default() |= bits(number % ENTRY_BITS, 1);
        }
    }

    /// Sets the bits of a bitmap for what was written in a range, one for each `page_size` bytes, and
    /// forgets the pages that lie within the range. The bitmap has a bit for each such page.
    pub fn report(&mut self, start: u64, length: u64, page_size: u64, bitmap: &mut [u8]) {
        let Some(rest) = length.checked_sub(1) else { return };
        let Some(end) = start.checked_add(rest) else { return };
        let (shift, own) = (self.shift, 1_u64 << self.shift);
        let entries = (start >> shift) / ENTRY_BITS..=(end >> shift) / ENTRY_BITS;
        for (number, pages) in self.entries.range_mut(entries) {
            for bit in 0..ENTRY_BITS {
                if *pages & bits(bit, 1) == 0 {
                    continue;
                }
                let first = (number * ENTRY_BITS + bit) << shift;
                let last = first + (own - 1);
                if last < start || first > end {
                    continue;
                }
                let of = |address: u64| (address.clamp(start, end) - start) / page_size;
                (of(first)..=of(last)).for_each(|page| set_bit(bitmap, page));
                if first >= start && last <= end {
                    *pages &= !bits(bit, 1);
                }
            }
        }
        self.entries.retain(|_, pages| *pages != 0);
    }
}

/// So many bits, 64 at most, from one on.
fn bits(first: u64, count: u64) -> u64 {
    let all = if count >= ENTRY_BITS { u64::MAX } else { (1 << count) - 1 };
    all << first
}

fn set_bit(bitmap: &mut [u8], bit: u64) {
    let byte = usize::try_from(bit / 8).ok().and_then(|byte| bitmap.get_mut(byte));
    if let Some(byte) = byte {
        *byte |= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PAGE: u64 = 4096;

    fn reported(log: &mut DirtyLog, start: u64, length: u64, page_size: u64) -> Vec<u64> {
        let pages = length.div_ceil(page_size);
        let mut bitmap = vec![0; usize::try_from(pages.div_ceil(8)).unwrap()];
        log.report(start, length, page_size, &mut bitmap);
        (0..pages).filter(|page| bitmap[*page as usize / 8] >> (page % 8) & 1 == 1).collect()
    }

    #[test]
    fn a_page_is_reported_once_in_the_unit_that_is_asked_for() {
        let mut log = DirtyLog::new(PAGE).unwrap();
        let write = |log: &mut DirtyLog| {
            log.add(0x10 * PAGE, PAGE);
            log.add(0x16 * PAGE, 4 * PAGE);
        };
        write(&mut log);
        let report = |log: &mut DirtyLog, unit| reported(log, 0x10 * PAGE, 0x10 * PAGE, unit);
        assert_eq!(report(&mut log, PAGE), [0, 6, 7, 8, 9]);
        assert!(report(&mut log, PAGE).is_empty());
        write(&mut log);
        assert_eq!(report(&mut log, PAGE / 2), [0, 1, 12, 13, 14, 15, 16, 17, 18, 19]);
        write(&mut log);
        assert_eq!(report(&mut log, 2 * PAGE), [0, 3, 4]);
        write(&mut log);
        assert_eq!(report(&mut log, 16 * PAGE), [0]);
        assert!(report(&mut log, 16 * PAGE).is_empty());
    }

    #[test]
    fn a_page_that_is_asked_for_in_parts_stays_until_it_is_asked_for_as_a_whole() {
        let mut log = DirtyLog::new(2 * PAGE).unwrap();
        log.add(0, 1);
        assert_eq!(reported(&mut log, 0, PAGE, PAGE), [0]);
        assert_eq!(reported(&mut log, PAGE, PAGE, PAGE), [0]);
        assert_eq!(reported(&mut log, 0, 2 * PAGE, PAGE), [0, 1]);
        assert!(reported(&mut log, 0, 2 * PAGE, PAGE).is_empty());
    }

    #[test]
    fn page_sizes_are_powers_of_two_and_become_possible_ones() {
        assert_eq!(DirtyLog::new(1).unwrap().page_size(), 4096);
        assert_eq!(DirtyLog::new(1 << 21).unwrap().page_size(), 1 << 21);
        assert_eq!(DirtyLog::new(1 << 63).unwrap().page_size(), 1 << 30);
        assert!(DirtyLog::new(0).is_none() && DirtyLog::new(4097).is_none());
    }

    #[test]
    fn the_ends_of_the_address_space_are_addresses_like_others() {
        let mut log = DirtyLog::new(PAGE).unwrap();
        log.add(u64::MAX, 1);
        log.add(u64::MAX, u64::MAX);
        log.add(0, 0);
        assert_eq!(reported(&mut log, u64::MAX - 2 * PAGE + 1, 2 * PAGE, PAGE), [1]);
        assert_eq!(log.entries.len(), 0);
    }

    proptest! {
        #[test]
        fn nothing_that_was_written_is_missing_however_few_entries_there_are(
            writes in prop::collection::vec((0_u64..1 << 40, 1_u64..1 << 20), 1..60),
            max_entries in 1_usize..20,
        ) {
            let mut log = DirtyLog { max_entries, ..DirtyLog::new(PAGE).unwrap() };
            let mut exact = DirtyLog::new(PAGE).unwrap();
            for (address, length) in &writes {
                log.add(*address, *length);
                exact.add(*address, *length);
                prop_assert!(log.entries.len() <= max_entries);
            }
            for (address, length) in &writes {
                let start = address / PAGE * PAGE;
                let length = (address + length).next_multiple_of(PAGE) - start;
                let found = reported(&mut log, start, length, PAGE);
                let found: BTreeSet<_> = found.into_iter().collect();
                let expected = reported(&mut exact, start, length, PAGE);
                prop_assert!(expected.iter().all(|page| found.contains(page)));
            }
        }
    }
}
