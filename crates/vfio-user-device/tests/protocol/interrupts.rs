//! Interrupts, from a register of the device to the client's eventfds.

use std::os::fd::{AsFd, OwnedFd};

use crate::common::*;
use crate::device::{MSI_VECTORS, PIN, RAISE, VECTORS};
use crate::served::RunningServer;

/// Offset of MSI-X message control in configuration space.
const MSIX_CONTROL: u64 = 0x42;
const PENDING: u64 = 0x800;

#[track_caller]
pub fn assign(client: &mut Client, index: u32, start: u32, events: &[&OwnedFd]) {
    let fds: Vec<_> = events.iter().map(|event| event.as_fd()).collect();
    let set = set_irqs(TRIGGER | DATA_EVENTFD, index, start, fds.len() as u32, &[]);
    client.request_with(SET_IRQS, &set, &fds).ok();
}

/// A client with an eventfd for the pin.
fn pin() -> (RunningServer, Client, OwnedFd) {
    let server = RunningServer::everything();
    let mut client = server.client();
    let event = event();
    assign(&mut client, INTX, 0, &[&event]);
    (server, client, event)
}

/// A client with MSI-X enabled and an eventfd for vector 3.
fn msix() -> (RunningServer, Client, OwnedFd) {
    let server = RunningServer::everything();
    let mut client = server.client();
    let event = event();
    client.write(CONFIG, MSIX_CONTROL, &[0, 0x80]);
    assign(&mut client, MSIX, 3, &[&event]);
    (server, client, event)
}

fn pending(client: &mut Client) -> u64 {
    u64::from_le_bytes(client.read(1, PENDING, 8).try_into().unwrap())
}

#[test]
fn intx_is_maskable_and_automasked() {
    let server = RunningServer::everything();
    let info = server.client().request(GET_IRQ_INFO, &irq_info(16, INTX)).ok();
    assert_eq!(info, Bytes::new().u32(16).u32(7).u32(INTX).u32(1).0);
}

#[test]
fn msix_has_its_number_of_vectors() {
    let server = RunningServer::everything();
    let info = server.client().request(GET_IRQ_INFO, &irq_info(16, MSIX)).ok();
    assert_eq!((u32_at(&info, 4) & 1, u32_at(&info, 12)), (1, VECTORS.into()));
}

#[test]
fn msi_has_its_number_of_vectors() {
    let server = RunningServer::everything();
    let info = server.client().request(GET_IRQ_INFO, &irq_info(16, MSI)).ok();
    assert_eq!((u32_at(&info, 4) & 1, u32_at(&info, 12)), (1, MSI_VECTORS.into()));
}

#[test]
fn intx_fires_once_and_masks_itself() {
    let (_server, mut client, event) = pin();
    client.write_u32(0, PIN, 1);
    client.write_u32(0, PIN, 0);
    client.write_u32(0, PIN, 1);
    assert_eq!(signals(&event), 1);
}

#[test]
fn masked_intx_waits_for_its_unmask() {
    let (_server, mut client, event) = pin();
    client.request(SET_IRQS, &set_irqs(MASK | DATA_BOOL, INTX, 0, 1, &[1])).ok();
    client.write_u32(0, PIN, 1);
    assert_eq!(signals(&event), 0);
    client.request(SET_IRQS, &set_irqs(UNMASK | DATA_BOOL, INTX, 0, 1, &[0])).ok();
    assert_eq!(signals(&event), 0, "a false of BOOL is not chosen");
    client.request(SET_IRQS, &set_irqs(UNMASK | DATA_BOOL, INTX, 0, 1, &[1])).ok();
    wait_readable(&event, "the interrupt");
    assert_eq!(signals(&event), 1);
}

#[test]
fn interrupt_disable_in_the_command_register_holds_intx() {
    let (_server, mut client, event) = pin();
    client.write(CONFIG, 4, &[0, 4]);
    client.write_u32(0, PIN, 1);
    assert_eq!(signals(&event), 0);
    assert_eq!(client.read(CONFIG, 6, 1)[0] & 8, 8, "status shows it all the same");
    client.write(CONFIG, 4, &[0, 0]);
    assert_eq!(signals(&event), 1);
}

#[test]
fn a_reset_takes_intx_back() {
    let (_server, mut client, event) = pin();
    client.write_u32(0, PIN, 1);
    assert_eq!(signals(&event), 1);
    client.request(DEVICE_RESET, &[]).ok();
    client.request(SET_IRQS, &set_irqs(UNMASK | DATA_NONE, INTX, 0, 1, &[])).ok();
    assert_eq!(signals(&event), 0);
}

#[test]
fn the_next_client_finds_intx_as_the_device_left_it() {
    let (server, mut client, _event) = pin();
    client.write_u32(0, PIN, 1);
    drop(client);
    let mut client = server.client();
    let event = event();
    assign(&mut client, INTX, 0, &[&event]);
    assert_eq!(signals(&event), 1);
}

#[test]
fn trigger_signals_intxs_eventfd() {
    let (_server, mut client, event) = pin();
    client.request(SET_IRQS, &set_irqs(TRIGGER | DATA_NONE, INTX, 0, 1, &[])).ok();
    client.request(SET_IRQS, &set_irqs(TRIGGER | DATA_BOOL, INTX, 0, 1, &[0])).ok();
    assert_eq!(signals(&event), 1);
}

#[test]
fn disabled_intx_signals_nothing() {
    let (_server, mut client, event) = pin();
    client.request(SET_IRQS, &set_irqs(TRIGGER | DATA_NONE, INTX, 0, 0, &[])).ok();
    client.write_u32(0, PIN, 1);
    client.assert_in_sync();
    assert_eq!(signals(&event), 0);
}

#[test]
fn a_full_eventfd_does_not_stop_the_server() {
    let (_server, mut client, event) = pin();
    rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    client.write_u32(0, PIN, 1);
    client.assert_in_sync();
}

#[test]
fn a_vector_signals_its_eventfd_alone() {
    let (_server, mut client, event) = msix();
    let other = crate::common::event();
    assign(&mut client, MSIX, 4, &[&other]);
    client.write_u32(0, RAISE, 3);
    client.write_u32(0, RAISE, 3);
    assert_eq!((signals(&event), signals(&other)), (2, 0));
}

#[test]
fn a_vector_that_does_not_exist_is_no_interrupt() {
    let (_server, mut client, event) = msix();
    client.write_u32(0, RAISE, VECTORS.into());
    client.write_u32(0, RAISE, 0xffff);
    client.assert_in_sync();
    assert_eq!(signals(&event), 0);
}

#[test]
fn the_function_mask_keeps_a_vector_pending_until_it_goes() {
    let (_server, mut client, event) = msix();
    client.write(CONFIG, MSIX_CONTROL, &[0, 0xc0]);
    client.write_u32(0, RAISE, 3);
    assert_eq!((signals(&event), pending(&mut client)), (0, 1 << 3));
    client.write(CONFIG, MSIX_CONTROL, &[0, 0x80]);
    assert_eq!((signals(&event), pending(&mut client)), (1, 0));
}

#[test]
fn a_vector_masked_in_the_table_stays_pending() {
    let (_server, mut client, event) = msix();
    let vector_control = 3 * 16 + 12;
    client.write_u32(1, vector_control, 1);
    client.write_u32(0, RAISE, 3);
    assert_eq!((signals(&event), pending(&mut client)), (0, 1 << 3));
    client.write_u32(1, vector_control, 0);
    assert_eq!((signals(&event), pending(&mut client)), (1, 0));
}

#[test]
fn a_vector_masked_by_message_stays_pending() {
    let (_server, mut client, event) = msix();
    client.request(SET_IRQS, &set_irqs(MASK | DATA_NONE, MSIX, 3, 1, &[])).ok();
    client.write_u32(0, RAISE, 3);
    assert_eq!((signals(&event), pending(&mut client)), (0, 1 << 3));
    client.request(SET_IRQS, &set_irqs(UNMASK | DATA_NONE, MSIX, 0, 40, &[])).ok();
    assert_eq!((signals(&event), pending(&mut client)), (1, 0));
}

#[test]
fn a_vector_without_eventfd_fires_when_it_gets_one() {
    let (_server, mut client, _event) = msix();
    client.write_u32(0, RAISE, 7);
    assert_eq!(pending(&mut client), 1 << 7);
    let late = crate::common::event();
    assign(&mut client, MSIX, 7, &[&late]);
    assert_eq!((signals(&late), pending(&mut client)), (1, 0));
}

#[test]
fn pending_bits_cannot_be_written() {
    let (_server, mut client, _event) = msix();
    client.write(1, PENDING, &[0xff; 8]);
    assert_eq!(pending(&mut client), 0);
}

#[test]
fn the_table_reads_back_what_was_written() {
    let (_server, mut client, _event) = msix();
    client.write(1, 16, &[0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0x31, 0x40, 0, 0]);
    assert_eq!(client.read(1, 16, 12), [0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0x31, 0x40, 0, 0]);
}

#[test]
fn vectors_assigned_in_chunks_all_work() {
    let server = RunningServer::everything();
    // Cloud Hypervisor announces one descriptor for a message, and sends 16.
    let one = b"{\"capabilities\": {\"max_msg_fds\": 1}}\0";
    let (mut client, _) = Client::negotiated_with(&server.path(), one);
    client.write(CONFIG, MSIX_CONTROL, &[0, 0x80]);
    let events: Vec<OwnedFd> = (0..VECTORS).map(|_| event()).collect();
    let all: Vec<&OwnedFd> = events.iter().collect();
    for (chunk, start) in all.chunks(16).zip((0..).step_by(16)) {
        assign(&mut client, MSIX, start, chunk);
    }
    for vector in 0..VECTORS {
        client.write_u32(0, RAISE, vector.into());
    }
    assert!(events.iter().all(|event| signals(event) == 1));
}

#[test]
fn a_vector_set_again_signals_the_new_eventfd() {
    let (_server, mut client, old) = msix();
    let new = event();
    assign(&mut client, MSIX, 3, &[&new]);
    client.write_u32(0, RAISE, 3);
    assert_eq!((signals(&old), signals(&new)), (0, 1));
}

#[test]
fn eventfd_data_without_descriptors_takes_that_range_away() {
    let (_server, mut client, event) = msix();
    let other = crate::common::event();
    assign(&mut client, MSIX, 4, &[&other]);
    client.request(SET_IRQS, &set_irqs(TRIGGER | DATA_EVENTFD, MSIX, 3, 1, &[])).ok();
    client.write_u32(0, RAISE, 3);
    client.write_u32(0, RAISE, 4);
    assert_eq!((signals(&event), signals(&other)), (0, 1));
}

#[test]
fn none_with_count_zero_takes_all_vectors_away() {
    let (_server, mut client, event) = msix();
    client.request(SET_IRQS, &set_irqs(TRIGGER | DATA_NONE, MSIX, 0, 0, &[])).ok();
    client.write_u32(0, RAISE, 3);
    client.assert_in_sync();
    assert_eq!(signals(&event), 0);
}

#[test]
fn trigger_with_bool_signals_the_chosen_vectors() {
    let server = RunningServer::everything();
    let mut client = server.client();
    let events = [event(), event(), event()];
    assign(&mut client, MSIX, 10, &events.each_ref());
    client.request(SET_IRQS, &set_irqs(TRIGGER | DATA_BOOL, MSIX, 10, 3, &[1, 0, 1])).ok();
    assert_eq!(events.each_ref().map(signals), [1, 0, 1]);
}

#[test]
fn one_descriptor_for_two_vectors_is_rejected() {
    let server = RunningServer::everything();
    let event = event();
    let set = set_irqs(TRIGGER | DATA_EVENTFD, MSIX, 0, 2, &[]);
    let errno = server.client().refused_with(SET_IRQS, &set, &[event.as_fd()]);
    assert_eq!(errno, rustix::io::Errno::INVAL);
}

#[test]
fn more_descriptors_than_a_message_may_have_are_rejected_and_closed() {
    let server = RunningServer::everything();
    let mut client = server.client();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let set = set_irqs(TRIGGER | DATA_EVENTFD, MSIX, 0, 17, &[]);
    let errno = client.refused_with(SET_IRQS, &set, &[writer.as_fd(); 17]);
    assert_eq!(errno, rustix::io::Errno::INVAL);
    drop(writer);
    wait_readable(&reader, "the last writer to go");
}

#[test]
fn descriptors_that_are_no_eventfds_are_rejected_and_closed() {
    let server = RunningServer::everything();
    let mut client = server.client();
    for flags in [TRIGGER | DATA_EVENTFD, UNMASK | DATA_EVENTFD] {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let set = set_irqs(flags, INTX, 0, 1, &[]);
        let errno = client.refused_with(SET_IRQS, &set, &[writer.as_fd()]);
        assert_eq!(errno, rustix::io::Errno::INVAL);
        drop(writer);
        wait_readable(&reader, "the last writer to go");
    }
}

#[test]
fn error_and_request_take_an_eventfd_and_fire_on_trigger() {
    let server = RunningServer::everything();
    let mut client = server.client();
    for index in [ERR, REQ] {
        let event = event();
        assign(&mut client, index, 0, &[&event]);
        client.request(SET_IRQS, &set_irqs(TRIGGER | DATA_NONE, index, 0, 1, &[])).ok();
        assert_eq!(signals(&event), 1, "index {index}");
    }
}

#[test]
fn eventfds_go_with_their_client() {
    let (server, client, event) = msix();
    drop(client);
    let mut client = server.client();
    client.write_u32(0, RAISE, 3);
    client.assert_in_sync();
    assert_eq!(signals(&event), 0);
}
