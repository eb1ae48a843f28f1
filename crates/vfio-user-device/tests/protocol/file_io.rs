//! Regions of guest memory with libvfio-user's DMA_MAP flags for how their file is accessed.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, ftruncate, memfd_create, open};
use rustix::io::{Errno, pread, pwrite};
use rustix::pipe::pipe;

use crate::common::*;
use crate::device::*;
use crate::served::{RunningServer, ring};

const PAGE: u64 = 0x1000;
/// Read and write.
const ACCESS: u32 = 3;
/// The file can be mapped.
const MMAP: u32 = 4;
/// The file can be read and written by pread(2) and pwrite(2).
const FILE_IO: u32 = 8;

fn map(client: &mut Client, flags: u32, address: u64, file: &OwnedFd) {
    let request = dma_map_with(flags, 0, address, PAGE);
    client.request_with(DMA_MAP, &request, &[file.as_fd()]).ok();
}

/// Has the device do an access, which is to end without a message to the client. Returns its status.
fn access_at_once(client: &mut Client, access: u32, address: u64, length: u32, fill: u8) -> u32 {
    let before = client.read_u32(0, DONE);
    ring(client, access, address, length, fill);
    wait_until("the access is over", || client.read_u32(0, DONE) == before + 1);
    client.read_u32(0, STATUS)
}

#[test]
fn each_way_to_a_file_reaches_its_bytes_without_messages() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let file = memory(PAGE);
    for flags in [0, MMAP, MMAP | FILE_IO, FILE_IO] {
        map(&mut client, ACCESS | flags, 0, &file);
        pwrite(&file, &[1, 2, 3, 4], 0x100).unwrap();
        assert_eq!(access_at_once(&mut client, READ, 0x100, 4, 0), 0, "{flags}");
        assert_eq!(client.read_u32(0, SUM), 10, "{flags}");
        assert_eq!(access_at_once(&mut client, WRITE, PAGE - 2, 2, 7), 0, "{flags}");
        let mut bytes = [0; 3];
        pread(&file, &mut bytes, PAGE - 3).unwrap();
        assert_eq!(bytes, [0, 7, 7], "{flags}");
        client.request(DMA_UNMAP, &dma_unmap(0, 0, PAGE)).ok();
        pwrite(&file, &[0; 2], PAGE - 2).unwrap();
    }
}

#[test]
fn offset_of_a_file_that_is_not_mapped_counts() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let file = memory(3 * PAGE);
    let request = dma_map_with(ACCESS | FILE_IO, PAGE, 0x10000, 2 * PAGE);
    client.request_with(DMA_MAP, &request, &[file.as_fd()]).ok();
    assert_eq!(access_at_once(&mut client, WRITE, 0x10000 + PAGE, 1, 9), 0);
    let mut bytes = [0; 2];
    pread(&file, &mut bytes, 2 * PAGE).unwrap();
    assert_eq!(bytes, [9, 0]);
}

#[test]
fn truncated_file_that_is_not_mapped_fails_the_access_alone() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let file = memory(PAGE);
    map(&mut client, ACCESS | FILE_IO, 0, &file);
    ftruncate(&file, 100).unwrap();
    assert_eq!(access_at_once(&mut client, READ, 98, 4, 0), TRUNCATED);
    assert_eq!(access_at_once(&mut client, READ, 96, 4, 0), 0);
}

#[test]
fn file_that_is_too_small_or_read_only_is_rejected() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let request = dma_map_with(ACCESS | FILE_IO, 0, 0, PAGE);
    let small = memory(PAGE - 1);
    assert_eq!(client.refused_with(DMA_MAP, &request, &[small.as_fd()]), Errno::INVAL);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory");
    std::fs::write(&path, [0; PAGE as usize]).unwrap();
    let read_only = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    assert_eq!(client.refused_with(DMA_MAP, &request, &[read_only.as_fd()]), Errno::ACCESS);
    let reading = dma_map_with(1 | FILE_IO, 0, 0, PAGE);
    client.request_with(DMA_MAP, &reading, &[read_only.as_fd()]).ok();
    assert_eq!(access_at_once(&mut client, READ, 0, 4, 0), 0);
}

/// Has the device write a byte, which is to be a message to the client, and answers that.
fn access_by_message(client: &mut Client, address: u64) {
    ring(client, WRITE, address, 1, 5);
    let request = client.receive();
    assert_eq!((request.command, u64_at(&request.payload, 0)), (DMA_WRITE, address));
    client.send_raw(&dma_reply(request.id, DMA_WRITE, address, 1, &[]), &[]);
    client.assert_in_sync();
}

#[test]
fn file_without_positions_is_reached_by_message() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let (_reader, writer) = pipe().unwrap();
    map(&mut client, ACCESS | FILE_IO, 0, &writer);
    access_by_message(&mut client, 0);
}

/// QEMU has mapped huge pages privately, say, and has left none for the server.
#[test]
fn file_without_memory_for_a_mapping_is_reached_by_message() {
    const SIZE: u64 = 1 << 40;
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB;
    let file = memfd_create("huge", flags).unwrap();
    ftruncate(&file, SIZE).unwrap();
    let request = dma_map_with(ACCESS, 0, 0, SIZE);
    client.request_with(DMA_MAP, &request, &[file.as_fd()]).ok();
    access_by_message(&mut client, 0x1000);
}

#[test]
fn only_some_descriptors_are_kept_for_a_client() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let file = memory(PAGE);
    // More than all clients of a process may have together.
    let regions: Vec<u64> = (0..300).map(|number| number * PAGE).collect();
    for region in &regions {
        map(&mut client, ACCESS | FILE_IO, *region, &file);
    }
    assert_eq!(access_at_once(&mut client, WRITE, 0, 1, 5), 0);
    access_by_message(&mut client, regions[299]);
    client.request(DMA_UNMAP, &dma_unmap(2, 0, 0)).ok();
    map(&mut client, ACCESS | FILE_IO, 0, &file);
    assert_eq!(access_at_once(&mut client, WRITE, 0, 1, 5), 0);
}
