//! MSI, from a register of the device to the client's eventfds.

use std::os::fd::OwnedFd;

use crate::common::*;
use crate::device::{MSI_VECTORS, PIN, RAISE};
use crate::interrupts::assign;
use crate::served::RunningServer;

/// Offset of MSI message control in configuration space, and its values for 1 vector and for 32.
const MSI_CONTROL: u64 = 0x4e;
const MSI_WITH_1: u8 = 1;
const MSI_WITH_32: u8 = 1 | 5 << 4;

/// A client with MSI enabled and an eventfd for vector 3.
fn msi() -> (RunningServer, Client, OwnedFd) {
    let server = RunningServer::everything();
    let mut client = server.client();
    let event = event();
    client.write(CONFIG, MSI_CONTROL, &[MSI_WITH_32]);
    assign(&mut client, MSI, 3, &[&event]);
    (server, client, event)
}

#[test]
fn an_msi_vector_signals_its_eventfd_alone() {
    let (_server, mut client, event) = msi();
    let other = crate::common::event();
    assign(&mut client, MSI, 4, &[&other]);
    client.write_u32(0, RAISE, 3);
    client.write_u32(0, RAISE, 3);
    client.write_u32(0, RAISE, MSI_VECTORS.into());
    assert_eq!((signals(&event), signals(&other)), (2, 0));
}

#[test]
fn a_driver_with_a_single_msi_vector_gets_all_interrupts_there() {
    let server = RunningServer::everything();
    let mut client = server.client();
    let event = event();
    client.write(CONFIG, MSI_CONTROL, &[MSI_WITH_1]);
    assign(&mut client, MSI, 0, &[&event]);
    client.write_u32(0, RAISE, 3);
    assert_eq!(signals(&event), 1);
}

#[test]
fn a_driver_with_msi_has_no_intx_until_it_disables_it() {
    let (_server, mut client, message) = msi();
    let pin = event();
    assign(&mut client, INTX, 0, &[&pin]);
    client.write_u32(0, PIN, 1);
    assert_eq!((signals(&pin), signals(&message)), (0, 0));
    client.request(SET_IRQS, &set_irqs(TRIGGER | DATA_NONE, MSI, 0, 0, &[])).ok();
    client.write(CONFIG, MSI_CONTROL, &[0]);
    assert_eq!(signals(&pin), 1, "the level was kept");
}

#[test]
fn an_msi_vector_masked_by_message_waits_for_its_unmask() {
    let (_server, mut client, event) = msi();
    client.request(SET_IRQS, &set_irqs(MASK | DATA_NONE, MSI, 3, 1, &[])).ok();
    client.write_u32(0, RAISE, 3);
    assert_eq!(signals(&event), 0);
    client.request(SET_IRQS, &set_irqs(UNMASK | DATA_NONE, MSI, 0, 32, &[])).ok();
    assert_eq!(signals(&event), 1);
}

#[test]
fn a_reset_disables_msi_and_forgets_what_is_pending() {
    let (_server, mut client, event) = msi();
    client.request(SET_IRQS, &set_irqs(MASK | DATA_NONE, MSI, 3, 1, &[])).ok();
    client.write_u32(0, RAISE, 3);
    client.request(DEVICE_RESET, &[]).ok();
    assert_eq!(client.read(CONFIG, MSI_CONTROL, 1), [0x80 | 5 << 1], "32 vectors, not enabled");
    client.request(SET_IRQS, &set_irqs(UNMASK | DATA_NONE, MSI, 0, 32, &[])).ok();
    assert_eq!(signals(&event), 0);
}

#[test]
fn trigger_signals_an_msi_vectors_eventfd() {
    let (_server, mut client, event) = msi();
    client.request(SET_IRQS, &set_irqs(TRIGGER | DATA_NONE, MSI, 3, 1, &[])).ok();
    assert_eq!(signals(&event), 1);
}

#[test]
fn msi_eventfds_go_with_their_client() {
    let (server, client, event) = msi();
    drop(client);
    let mut client = server.client();
    client.write_u32(0, RAISE, 3);
    client.assert_in_sync();
    assert_eq!(signals(&event), 0);
}
