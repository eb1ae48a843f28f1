//! Clients that come and go, and devices that fail.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use vfio_user_device::server::{Options, Server};

use crate::common::*;
use crate::device::*;
use crate::served::{RunningServer, ring};

#[test]
fn the_device_keeps_its_state_from_client_to_client() {
    let server = RunningServer::everything();
    server.client().write_u32(0, SCRATCH, 0xfeed);
    assert_eq!(server.client().read_u32(0, SCRATCH), 0xfeed);
}

#[test]
fn pci_configuration_of_one_client_is_not_seen_by_the_next() {
    let server = RunningServer::everything();
    let mut client = server.client();
    let fresh = (client.read(CONFIG, 0, 256), client.read(1, 0, 0x280));
    // Command, BAR 0, MSI-X enable, MSI enable, and an entry of the MSI-X table.
    for (offset, data) in [(0x04, &[7, 4][..]), (0x10, &[0, 0, 0, 0xfe]), (0x43, &[0xc0])] {
        client.write(CONFIG, offset, data);
    }
    client.write(CONFIG, 0x4e, &[1]);
    client.write(1, 16, &[0xee; 16]);
    client.write_u32(0, PIN, 1);
    assert_ne!((client.read(CONFIG, 0, 256), client.read(1, 0, 0x280)), fresh);
    drop(client);
    let mut client = server.client();
    assert_eq!(client.read_u32(0, PIN), 1, "the device's own state, and the pin with it");
    assert_eq!(client.read(CONFIG, 6, 1)[0] & 8, 8);
    client.write_u32(0, PIN, 0);
    assert_eq!((client.read(CONFIG, 0, 256), client.read(1, 0, 0x280)), fresh);
}

#[test]
fn a_reset_reaches_the_device_and_configuration_space() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    client.write_u32(0, SCRATCH, 1);
    assert!(client.request(DEVICE_RESET, &[]).ok().is_empty());
    assert_eq!((client.read_u32(0, SCRATCH), client.read_u32(0, RESETS)), (0, 1));
    assert_eq!(client.read(CONFIG, 4, 2), [0, 0]);
}

#[test]
fn a_device_that_panics_plays_dead_and_keeps_its_client() {
    let server = RunningServer::new(Everything::that_may_panic());
    let mut client = server.bus_master();
    let trigger = event();
    let set = set_irqs(DATA_EVENTFD | TRIGGER, INTX, 0, 1, &[]);
    client.request_with(SET_IRQS, &set, &[trigger.as_fd()]).ok();
    client.map(0, 0x1000, None);
    ring(&mut client, READ, 0, 4, 0);
    let read = client.receive();
    client.write_u32(0, TIMER, 1);
    client.write_u32(0, PANIC, 1);
    let dma = dma_reply(read.id, DMA_READ, 0, 4, &[0; 4]);
    client.send_raw(&dma, &[]);
    client.assert_in_sync();
    assert_eq!(client.read(0, SCRATCH, 8), [0xff; 8]);
    assert_eq!(client.read(1, 0, 16), [0xff; 16], "the MSI-X table");
    client.write_u32(0, PIN, 1);
    ring(&mut client, READ, 0, 4, 0);
    client.request(DEVICE_RESET, &[]).ok();
    assert_eq!(client.read_u32(0, RESETS), u32::MAX);
    let unmap = dma_unmap(0, 0, 0x1000);
    assert_eq!(client.request(DMA_UNMAP, &unmap).ok(), unmap, "no access is under way");
    assert_eq!((client.is_quiet(), signals(&trigger)), (true, 0));
    assert_eq!(client.read(CONFIG, 0, 4), [0x34, 0x12, 0x57, 0x7e]);
}

#[test]
fn the_next_client_of_a_device_that_panicked_is_rejected() {
    let server = RunningServer::new(Everything::that_may_panic());
    let mut client = server.client();
    client.write_u32(0, PANIC, 1);
    drop(client);
    let mut client = Client::connect(&server.path());
    let refusal = client.request(VERSION, &version(0, 1, QEMU_PROPOSAL));
    assert_eq!(refusal.errno(), Errno::NODEV);
    client.assert_closed();
}

#[test]
fn the_next_client_of_a_device_that_panicked_gets_a_new_one_if_it_can_be_made() {
    let made = AtomicU32::new(0);
    let server = RunningServer::of(|path| {
        let device = Everything::that_may_panic();
        let server = Server::bind(path, device, Options::default()).unwrap();
        server.with_factory(move || match made.fetch_add(1, Ordering::Relaxed) {
            0 => Err("not today".into()),
            _ => Ok(Box::new(Everything::that_may_panic())),
        })
    });
    let mut client = server.client();
    client.write_u32(0, SCRATCH, 7);
    client.write_u32(0, PANIC, 1);
    drop(client);
    let mut client = Client::connect(&server.path());
    let refusal = client.request(VERSION, &version(0, 1, QEMU_PROPOSAL));
    assert_eq!(refusal.errno(), Errno::NODEV);
    drop(client);
    for _ in 0..2 {
        let mut client = server.client();
        assert_eq!(client.read_u32(0, SCRATCH), 0);
        client.write_u32(0, SCRATCH, 7);
        client.write_u32(0, PANIC, 1);
        assert_eq!(client.read_u32(0, SCRATCH), u32::MAX);
    }
}
