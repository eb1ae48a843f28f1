//! rust-vmm's client, which was written by others.

use std::os::fd::AsRawFd;

use vfio_user::Client;

use crate::common::memory;
use crate::daemon::Daemon;

fn peer(daemon: &Daemon) -> Client {
    Client::new(&daemon.path()).unwrap()
}

fn random(client: &mut Client) -> u32 {
    let mut bytes = [0; 4];
    client.region_read(0, 0, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

#[test]
fn the_peer_finds_the_regions() {
    let daemon = Daemon::start(&[]);
    let client = peer(&daemon);
    assert_eq!(client.region(0).unwrap().size, 4096);
    assert_eq!(client.region(7).unwrap().size, 256);
}

#[test]
fn the_peer_reads_the_device_id() {
    let daemon = Daemon::start(&[]);
    let mut id = [0; 4];
    peer(&daemon).region_read(7, 0, &mut id).unwrap();
    assert_eq!(id, [0x34, 0x12, 0xfe, 0xca]);
}

#[test]
fn the_peer_reads_the_numbers_of_the_c_library() {
    let daemon = Daemon::glibc();
    let mut client = peer(&daemon);
    let numbers = [(); 3].map(|()| random(&mut client));
    assert_eq!(numbers, [1804289383, 846930886, 1681692777]);
}

#[test]
fn the_peer_seeds_the_generator() {
    let daemon = Daemon::start(&["--generator", "glibc"]);
    let mut client = peer(&daemon);
    client.region_write(0, 4, &1_u32.to_le_bytes()).unwrap();
    assert_eq!(random(&mut client), 1804289383);
}

#[test]
fn the_peer_resets_the_device() {
    let daemon = Daemon::start(&[]);
    peer(&daemon).reset().unwrap();
}

#[test]
fn the_peer_asks_for_interrupts() {
    let daemon = Daemon::start(&[]);
    let mut client = peer(&daemon);
    assert_eq!(client.get_irq_info(0).unwrap().count, 0);
    assert_eq!(client.get_irq_info(3).unwrap().count, 1);
}

#[test]
fn the_peer_maps_and_unmaps_memory() {
    let daemon = Daemon::start(&[]);
    let mut client = peer(&daemon);
    let file = memory(8192);
    client.dma_map(0, 0x1000, 8192, file.as_raw_fd()).unwrap();
    assert_eq!(daemon.guest_maps(), 1);
    client.dma_unmap(0x1000, 8192).unwrap();
    assert_eq!(daemon.guest_maps(), 0);
}
