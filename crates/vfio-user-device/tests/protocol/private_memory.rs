//! Memory with a descriptor in which the guest's writes may not show, as with QEMU's `share=off`.

use std::os::fd::OwnedFd;

use rustix::io::{pread, pwrite};

use crate::common::*;
use crate::device::*;
use crate::dma::{take_dma, wait_done};
use crate::served::{RunningServer, enable_bus_master, ring};

const PAGE: u64 = 0x1000;

/// A guest of QEMU's: ROM at 0 without a descriptor, two pages at 0x10000 with one.
fn guest_with_rom() -> (RunningServer, Client, OwnedFd) {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let file = memory(2 * PAGE);
    client.request(DMA_MAP, &dma_map_with(1, 0, 0, PAGE)).ok();
    client.map(0x10000, 2 * PAGE, Some(&file));
    (server, client, file)
}

/// Answers a DMA_READ of the device's, which has to be of that place.
#[track_caller]
fn answer_read(client: &mut Client, place: u64, bytes: &[u8]) {
    let (id, address, count, _) = take_dma(client, DMA_READ);
    assert_eq!((address, count), (place, bytes.len() as u64));
    client.send_raw(&dma_reply(id, DMA_READ, address, count, bytes), &[]);
}

#[test]
fn memory_whose_file_does_not_show_the_guests_writes_is_reached_by_message() {
    let (_server, mut client, file) = guest_with_rom();
    ring(&mut client, READ, 0x10010, 4, 0);
    answer_read(&mut client, 0x10010, &[0; 4]);
    wait_done(&mut client, 1);
    ring(&mut client, READ, 0x10010, 4, 0);
    answer_read(&mut client, 0x10010, &[1, 2, 3, 4]);
    wait_done(&mut client, 2);
    assert_eq!((client.read_u32(0, STATUS), client.read_u32(0, SUM)), (0, 10));
    // What is in the file is not looked at any more.
    pwrite(&file, &[1, 2, 3, 4], 0x20).unwrap();
    ring(&mut client, READ, 0x10020, 4, 0);
    answer_read(&mut client, 0x10020, &[5; 4]);
    wait_done(&mut client, 3);
    assert_eq!(client.read_u32(0, SUM), 20);
    ring(&mut client, WRITE, 0x10030, 4, 7);
    let (id, address, count, data) = take_dma(&mut client, DMA_WRITE);
    assert_eq!((address, data), (0x10030, vec![7; 4]));
    client.send_raw(&dma_reply(id, DMA_WRITE, address, count, &[]), &[]);
    wait_done(&mut client, 4);
    // More memory of that kind is not even mapped.
    client.map(0x20000, 2 * PAGE, Some(&file));
    ring(&mut client, READ, 0x20020, 4, 0);
    answer_read(&mut client, 0x20020, &[1; 4]);
    wait_done(&mut client, 5);
}

#[test]
fn a_write_that_does_not_show_tells_as_well() {
    let (_server, mut client, _file) = guest_with_rom();
    ring(&mut client, WRITE, 0x10010, 4, 7);
    let (id, address, count, data) = take_dma(&mut client, DMA_WRITE);
    assert_eq!((address, data), (0x10010, vec![7; 4]), "the guest gets it in either case");
    client.send_raw(&dma_reply(id, DMA_WRITE, address, count, &[]), &[]);
    wait_done(&mut client, 1);
    ring(&mut client, READ, 0x10010, 4, 0);
    answer_read(&mut client, 0x10010, &[7; 4]);
    wait_done(&mut client, 2);
    assert_eq!(client.read_u32(0, SUM), 28);
}

#[test]
fn memory_that_shows_the_guests_writes_is_not_asked_for_again() {
    let (_server, mut client, file) = guest_with_rom();
    pwrite(&file, &[1, 2, 3, 4], 0x10).unwrap();
    ring(&mut client, READ, 0x10010, 4, 0);
    answer_read(&mut client, 0x10010, &[1, 2, 3, 4]);
    wait_done(&mut client, 1);
    ring(&mut client, WRITE, 0x10020, 4, 7);
    wait_done(&mut client, 2);
    let mut bytes = [0; 4];
    pread(&file, &mut bytes, 0x20).unwrap();
    assert_eq!(bytes, [7; 4]);
    ring(&mut client, READ, 0x10040, 4, 0);
    wait_done(&mut client, 3);
    assert_eq!((client.read_u32(0, STATUS), client.read_u32(0, SUM)), (0, 0));
}

#[test]
fn a_client_that_rejects_reads_of_mapped_memory_is_asked_once() {
    let (_server, mut client, file) = guest_with_rom();
    pwrite(&file, &[1, 2, 3, 4], 0x10).unwrap();
    for count in 1..=2 {
        ring(&mut client, READ, 0x10010, 4, 0);
        if count == 1 {
            let (id, ..) = take_dma(&mut client, DMA_READ);
            client.send_raw(
                &[
                    header(id, DMA_READ, 16, REPLY | 0x20)[..12].to_vec(),
                    22_u32.to_ne_bytes().to_vec(),
                ]
                .concat(),
                &[],
            );
        }
        wait_done(&mut client, count);
        assert_eq!((client.read_u32(0, STATUS), client.read_u32(0, SUM)), (0, 10));
    }
}

/// A device that is plugged into a guest whose IOMMU is on never hears of ROM.
#[test]
fn qemu_is_asked_also_without_rom() {
    let server = RunningServer::everything();
    let mut client = Client::negotiated_with(&server.path(), QEMU_PROPOSAL).0;
    enable_bus_master(&mut client);
    let file = memory(PAGE);
    client.map(0x10000, PAGE, Some(&file));
    ring(&mut client, READ, 0x10010, 4, 0);
    answer_read(&mut client, 0x10010, &[1; 4]);
    wait_done(&mut client, 1);
    ring(&mut client, READ, 0x10020, 4, 0);
    answer_read(&mut client, 0x10020, &[2; 4]);
    wait_done(&mut client, 2);
    assert_eq!(client.read_u32(0, SUM), 8);
}

#[test]
fn client_without_write_multiple_and_rom_is_not_asked() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    let file = memory(PAGE);
    client.map(0x10000, PAGE, Some(&file));
    ring(&mut client, READ, 0x10010, 4, 0);
    wait_done(&mut client, 1);
    assert_eq!((client.read_u32(0, STATUS), client.read_u32(0, SUM)), (0, 0));
}
