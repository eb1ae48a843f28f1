//! What another processor sees of accesses, which rings in guest memory are built on.

use std::os::fd::OwnedFd;
use std::sync::Barrier;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::*;

/// Where the writer says how many entries it has written, and where the last one is.
const INDEX: Segment = Segment { address: 0x10, length: 2 };
const ENTRY: Segment = Segment { address: 0x800, length: 64 };
/// How many there are.
const ENTRIES: u16 = 60_000;

/// Maps the same memory once more, as another process does.
fn space(file: &OwnedFd) -> DmaSpace {
    let mut space = DmaSpace::default();
    let file = file.try_clone().unwrap();
    space.map(0, 0x1000, DmaMapFlags::all(), Some((file, 0))).unwrap();
    space
}

fn access(space: &DmaSpace, segments: &[Segment], mut buffer: Buffer<'_>) {
    let mut budget = usize::MAX;
    let done = Cursor::default().copy(space, segments, &mut buffer, &mut budget);
    assert_eq!(done, Ok(Ahead::Nothing));
}

#[test]
fn segments_of_an_access_are_seen_in_their_order() {
    let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, 0x1000).unwrap();
    let begin = Barrier::new(2);
    let write = || {
        let space = space(&file);
        begin.wait();
        for number in 1..=ENTRIES {
            let bytes = number.to_ne_bytes().repeat((ENTRY.length + INDEX.length) / 2);
            access(&space, &[ENTRY, INDEX], Buffer::Write(&bytes));
        }
    };
    let read = || {
        let space = space(&file);
        let mut bytes = [0; ENTRY.length + INDEX.length];
        let mut seen = 0;
        begin.wait();
        while seen != ENTRIES {
            access(&space, &[INDEX, ENTRY], Buffer::Read(&mut bytes));
            let (index, entry) = bytes.split_at(INDEX.length);
            let number = |bytes: &[u8]| u16::from_ne_bytes(bytes.try_into().unwrap());
            let index = number(index);
            let oldest = entry.chunks(2).map(number).min();
            assert!(index >= seen, "index {index} after {seen}");
            assert!(oldest >= Some(index), "an entry of {oldest:?} with index {index}");
            seen = index;
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(write);
        read();
    });
}
