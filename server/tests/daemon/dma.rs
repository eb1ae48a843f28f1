//! DMA_MAP and DMA_UNMAP.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::common::*;
use crate::daemon::Daemon;

const TIB: u64 = 1 << 40;

#[track_caller]
fn refused(map: &[u8]) -> Errno {
    Daemon::start(&[]).client().refused(DMA_MAP, map)
}

#[test]
fn regions_are_mapped_with_and_without_a_descriptor() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let file = memory(8192);
    client.map(0, 8192, Some(&file));
    client.map(8192, 8192, None);
    assert_eq!(daemon.guest_maps(), 1);
}

#[test]
fn one_descriptor_is_kept_of_each_file_and_no_more_than_a_bound() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let open = daemon.descriptors();
    let file = memory(8192);
    client.map(0, 4096, Some(&file));
    client.request_with(DMA_MAP, &dma_map_with(3, 4096, 4096, 4096), &[file.as_fd()]).ok();
    assert_eq!(daemon.descriptors(), open + 1);
    for page in 2..400 {
        client.map(page << 12, 4096, Some(&memory(4096)));
    }
    assert!(daemon.descriptors() <= open + 256, "{} of {open}", daemon.descriptors());
    client.request(DMA_UNMAP, &dma_unmap(2, 0, 0)).ok();
    assert_eq!(daemon.descriptors(), open);
}

#[test]
fn five_maps_at_once_get_the_descriptors_that_are_theirs() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let file = memory(4096);
    for position in 0..5 {
        let fds = if position % 2 == 1 { vec![file.as_fd()] } else { vec![] };
        client.send(DMA_MAP, &dma_map(position << 12, 4096), &fds);
    }
    (0..5).for_each(|_| assert!(client.receive().ok().is_empty()));
    assert_eq!(daemon.guest_maps(), 2);
}

#[test]
fn a_reset_glued_to_a_map_does_not_take_its_descriptor() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let file = memory(4096);
    client.send(DEVICE_RESET, &[], &[]);
    client.send(DMA_MAP, &dma_map(0, 4096), &[file.as_fd()]);
    client.send(DEVICE_RESET, &[], &[]);
    (0..3).for_each(|_| assert!(client.receive().ok().is_empty()));
    assert_eq!(daemon.guest_maps(), 1);
}

#[test]
fn short_payloads_and_argsz_are_refused() {
    assert_eq!(refused(&dma_map(0, 4096)[..31]), Errno::INVAL);
    assert_eq!(refused(&[&31_u32.to_ne_bytes(), &dma_map(0, 4096)[4..]].concat()), Errno::INVAL);
}

#[test]
fn unknown_flags_and_none_are_refused() {
    for flags in [0, 4, 8, 12, 16, 19, 1 << 31] {
        assert_eq!(refused(&dma_map_with(flags, 0, 0, 4096)), Errno::INVAL, "{flags:#x}");
    }
}

#[test]
fn impossible_ranges_are_refused() {
    for (address, size) in [(0, 0), (u64::MAX, 2), (u64::MAX - 4095, 4097), (2, u64::MAX)] {
        assert_eq!(refused(&dma_map(address, size)), Errno::INVAL, "{address:#x} {size:#x}");
    }
}

#[test]
fn regions_over_eight_tebibytes_are_refused() {
    assert_eq!(refused(&dma_map(0, 8 * TIB + 1)), Errno::NOSPC);
    assert_eq!(refused(&dma_map(0, u64::MAX)), Errno::NOSPC);
    let daemon = Daemon::start(&[]);
    daemon.client().map(0, 8 * TIB, None);
}

#[test]
fn overlaps_and_identical_regions_exist_already() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.map(0x10000, 0x4000, None);
    for (address, size) in
        [(0x10000, 0x4000), (0x10000, 0x1000), (0xf000, 0x1001), (0x13fff, 1), (0, TIB)]
    {
        assert_eq!(client.refused(DMA_MAP, &dma_map(address, size)), Errno::EXIST);
    }
    client.map(0x14000, 0x1000, None);
    client.map(0xf000, 0x1000, None);
}

#[test]
fn the_region_that_is_there_survives_an_overlap() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let file = memory(4096);
    client.map(0, 4096, Some(&file));
    let errno = client.refused_with(DMA_MAP, &dma_map(0, 4096), &[file.as_fd()]);
    assert_eq!((errno, daemon.guest_maps()), (Errno::EXIST, 1));
}

#[test]
fn files_that_cannot_be_mapped_get_the_errno_of_mmap() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let folder = open("/", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let to_read = dma_map_with(1, 0, 0, 4096);
    for fd in [dev_null(), event(), folder] {
        let errno = client.refused_with(DMA_MAP, &to_read, &[fd.as_fd()]);
        assert_eq!(errno, Errno::NODEV);
    }
    let path = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let errno = client.refused_with(DMA_MAP, &dma_map(0, 4096), &[path.as_fd()]);
    assert_eq!(errno, Errno::BADF);
}

#[test]
fn a_file_to_read_cannot_be_mapped_for_writing() {
    let daemon = Daemon::start(&[]);
    let path = daemon.folder.path().join("file");
    std::fs::write(&path, [0; 4096]).unwrap();
    let file = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let mut client = daemon.client();
    let errno = client.refused_with(DMA_MAP, &dma_map(0, 4096), &[file.as_fd()]);
    assert_eq!(errno, Errno::ACCESS);
    client.request_with(DMA_MAP, &dma_map_with(1, 0, 0, 4096), &[file.as_fd()]).ok();
}

#[test]
fn short_files_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let file = memory(4096);
    for (offset, size) in [(0, 4097), (1 << 12, 4096), (0, TIB)] {
        let map = dma_map_with(3, offset, 0, size);
        assert_eq!(client.refused_with(DMA_MAP, &map, &[file.as_fd()]), Errno::INVAL);
    }
}

#[test]
fn offsets_past_the_file_or_that_overflow_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let file = memory(1 << 20);
    for offset in [(1 << 20) - 4095, 1 << 20, u64::MAX, u64::MAX - 4095, 1 << 63] {
        let map = dma_map_with(3, offset, 0, 4096);
        let errno = client.refused_with(DMA_MAP, &map, &[file.as_fd()]);
        assert!([Errno::INVAL, Errno::OVERFLOW].contains(&errno), "{offset:#x}: {errno}");
    }
}

#[test]
fn a_region_may_begin_within_a_page_of_its_file() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let map = dma_map_with(3, 4095, 0, 4096);
    client.send(DMA_MAP, &map, &[memory(1 << 20).as_fd()]);
    assert_eq!(client.receive().error, 0);
}

#[test]
fn two_descriptors_are_refused_and_closed() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let open = daemon.descriptors();
    let file = memory(4096);
    for count in [2, 16, 17, 40] {
        let fds = vec![file.as_fd(); count];
        assert_eq!(client.refused_with(DMA_MAP, &dma_map(0, 4096), &fds), Errno::INVAL);
    }
    assert_eq!((daemon.descriptors(), daemon.guest_maps()), (open, 0));
}

#[test]
fn unmap_repeats_its_request_and_drops_the_map() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.map(0x1000, 4096, Some(&memory(4096)));
    let unmap = dma_unmap(0, 0x1000, 4096);
    assert_eq!(client.request(DMA_UNMAP, &unmap).ok(), unmap);
    assert_eq!(daemon.guest_maps(), 0);
    assert_eq!(client.request(DMA_UNMAP, &unmap).ok(), unmap, "nothing is there any more");
}

#[test]
fn unmap_takes_all_whole_regions_of_a_range() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.map(0x1000, 0x2000, Some(&memory(0x2000)));
    client.map(0x3000, 0x2000, Some(&memory(0x2000)));
    for (address, size) in
        [(0x1000, 0x1000), (0x2000, 0x1000), (0x1000, 0x3000), (0x1000, 0), (u64::MAX, u64::MAX)]
    {
        assert_eq!(client.refused(DMA_UNMAP, &dma_unmap(0, address, size)), Errno::INVAL);
    }
    assert_eq!(daemon.guest_maps(), 2);
    let everything = dma_unmap(0, 0, u64::MAX);
    assert_eq!(client.request(DMA_UNMAP, &everything).ok(), everything);
    assert_eq!(daemon.guest_maps(), 0);
}

#[test]
fn short_unmaps_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let unmap = dma_unmap(0, 0, 4096);
    assert_eq!(client.refused(DMA_UNMAP, &unmap[..23]), Errno::INVAL);
    let argsz = [&23_u32.to_ne_bytes(), &unmap[4..]].concat();
    assert_eq!(client.refused(DMA_UNMAP, &argsz), Errno::INVAL);
}

#[test]
fn unknown_unmap_flags_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.map(0, 4096, None);
    for flags in [1, 3, 4, 1 << 31] {
        assert_eq!(client.refused(DMA_UNMAP, &dma_unmap(flags, 0, 4096)), Errno::INVAL);
    }
}

#[test]
fn unmap_all_takes_no_address_and_no_size() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.map(0, 4096, Some(&memory(4096)));
    client.map(4096, 4096, None);
    assert_eq!(client.refused(DMA_UNMAP, &dma_unmap(2, 1, 0)), Errno::INVAL);
    assert_eq!(client.refused(DMA_UNMAP, &dma_unmap(2, 0, 4096)), Errno::INVAL);
    assert_eq!(daemon.guest_maps(), 1);
    let all = dma_unmap(2, 0, 0);
    assert_eq!(client.request(DMA_UNMAP, &all).ok(), all);
    assert_eq!(daemon.guest_maps(), 0);
    client.map(0, TIB, None);
}

#[test]
fn as_many_regions_as_offered_fit_and_no_more() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for region in 0..65535 {
        client.post(DMA_MAP, &dma_map(region << 12, 4096), &[]);
    }
    assert_eq!(client.refused(DMA_MAP, &dma_map(65535 << 12, 4096)), Errno::INVAL);
    client.request(DMA_UNMAP, &dma_unmap(0, 0, 4096)).ok();
    client.map(65535 << 12, 4096, None);
}

#[test]
fn a_guest_with_more_maps_than_the_system_allows_leaves_some_to_the_others() {
    let daemon = Daemon::start(&["--socket-count", "2"]);
    let path = |number: u32| daemon.folder.path().join(format!("s{number}"));
    let mut greedy = Client::negotiated(&path(0));
    let file = memory(4096);
    for region in 0..65535 {
        greedy.post(DMA_MAP, &dma_map(region << 12, 4096), &[file.as_fd()]);
    }
    greedy.assert_in_sync();
    let greedy_maps = daemon.guest_maps();
    assert!((1000..50_000).contains(&greedy_maps), "{greedy_maps} maps");
    daemon.wait_for_log("reached by slow messages");
    let mut other = Client::negotiated(&path(1));
    other.map(0, 4096, Some(&file));
    assert_eq!(daemon.guest_maps(), greedy_maps + 1);
    drop((greedy, other));
    // On a busy machine it can take longer than a client waits for the one before it.
    wait_until("all maps are gone", || daemon.guest_maps() == 0);
    Client::negotiated(&path(0)).assert_in_sync();
    Client::negotiated(&path(1)).assert_in_sync();
}
