//! Clients that come and go, and devices that fail.

use crate::common::*;
use crate::device::*;
use crate::served::{Served, enable_bus_master, ring};

#[test]
fn the_device_keeps_its_state_from_client_to_client() {
    let server = Served::everything();
    server.client().write_u32(0, SCRATCH, 0xfeed);
    assert_eq!(server.client().read_u32(0, SCRATCH), 0xfeed);
}

#[test]
fn pci_configuration_of_one_client_is_not_seen_by_the_next() {
    let server = Served::everything();
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
    let server = Served::everything();
    let mut client = server.bus_master();
    client.write_u32(0, SCRATCH, 1);
    assert!(client.request(DEVICE_RESET, &[]).ok().is_empty());
    assert_eq!((client.read_u32(0, SCRATCH), client.read_u32(0, RESETS)), (0, 1));
    assert_eq!(client.read(CONFIG, 4, 2), [0, 0]);
}

#[test]
fn a_device_that_panics_costs_its_client_the_connection_and_no_more() {
    let server = Served::new(Everything::that_may_panic());
    let mut client = server.bus_master();
    let file = memory(0x1000);
    client.map(0, 0x1000, Some(&file));
    client.send(REGION_WRITE, &region_write(0, PANIC, &[1, 0, 0, 0]), &[]);
    client.assert_closed();
    let mut client = server.client();
    enable_bus_master(&mut client);
    ring(&mut client, READ, 0, 4, 0);
    wait_until("the access is over", || client.read_u32(0, DONE) == 1);
    assert_eq!(client.read_u32(0, STATUS), NOT_MAPPED, "the memory of the client before");
}
