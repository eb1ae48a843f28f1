//! The second socket, for commands of the server.

use rustix::io::Errno;

use crate::common::*;
use crate::device::*;
use crate::served::{RunningServer, enable_bus_master, ring};

const PROPOSAL: &[u8] = b"{\"capabilities\":{\"twin_socket\":{\"supported\":true}}}\0";

/// A client, its twin socket, and a page of memory by message.
fn twins() -> (RunningServer, Client, Client) {
    let server = RunningServer::everything();
    let (mut main, mut reply) = Client::negotiated_with(&server.path(), PROPOSAL);
    let twin = Client::new(reply.fds.remove(0));
    enable_bus_master(&mut main);
    main.map(0, 0x1000, None);
    (server, main, twin)
}

fn reply_to(request: &Reply, data: &[u8]) -> Vec<u8> {
    let payload = [&request.payload[..16], data].concat();
    [header(request.id, request.command, (16 + payload.len()) as u32, REPLY), payload].concat()
}

#[test]
fn a_client_that_offers_it_gets_one_descriptor_and_its_index() {
    let server = RunningServer::everything();
    let (_client, reply) = Client::negotiated_with(&server.path(), PROPOSAL);
    assert_eq!(reply.fds.len(), 1);
    let json = String::from_utf8(reply.payload[4..].to_vec()).unwrap();
    assert!(json.contains("\"twin_socket\":{\"supported\":true,\"fd_index\":0}"), "{json}");
}

#[test]
fn a_client_that_does_not_offer_it_gets_none() {
    let server = RunningServer::everything();
    for proposal in [QEMU_PROPOSAL, b"{\"capabilities\":{\"twin_socket\":{\"supported\":false}}}\0"]
    {
        let (_client, reply) = Client::negotiated_with(&server.path(), proposal);
        assert!(reply.fds.is_empty());
        assert!(!String::from_utf8_lossy(&reply.payload).contains("twin_socket"));
    }
}

#[test]
fn a_client_that_takes_no_descriptors_gets_none() {
    let server = RunningServer::everything();
    let proposal = b"{\"capabilities\":{\"max_msg_fds\":0,\"twin_socket\":{\"supported\":true}}}\0";
    let (_main, reply) = Client::negotiated_with(&server.path(), proposal);
    assert!(reply.fds.is_empty());
    assert!(!String::from_utf8_lossy(&reply.payload).contains("twin_socket"));
}

#[test]
fn dma_goes_over_the_twin_socket() {
    let (_server, mut main, mut twin) = twins();
    ring(&mut main, READ, 0x10, 4, 0);
    let request = twin.receive();
    assert_eq!((request.command, request.flags), (DMA_READ, 0));
    twin.send_raw(&reply_to(&request, &[1, 2, 3, 4]), &[]);
    wait_until("the read is over", || main.read_u32(0, DONE) == 1);
    assert_eq!((main.read_u32(0, STATUS), main.read_u32(0, SUM)), (0, 10));
    ring(&mut main, WRITE, 0x10, 4, 9);
    let request = twin.receive();
    assert_eq!((request.command, &request.payload[16..]), (DMA_WRITE, &[9_u8; 4][..]));
    twin.send_raw(&reply_to(&request, &[]), &[]);
    wait_until("the write is over", || main.read_u32(0, DONE) == 2);
}

#[test]
fn a_reply_on_the_main_socket_is_not_the_one_that_was_asked_for() {
    let (_server, mut main, mut twin) = twins();
    ring(&mut main, READ, 0x10, 4, 0);
    let request = twin.receive();
    main.send_raw(&reply_to(&request, &[9; 4]), &[]);
    assert_eq!(main.receive().errno(), Errno::INVAL);
    assert_eq!(main.read_u32(0, DONE), 0);
    twin.send_raw(&reply_to(&request, &[1; 4]), &[]);
    wait_until("the read is over", || main.read_u32(0, DONE) == 1);
    assert_eq!(main.read_u32(0, SUM), 4);
}

#[test]
fn commands_on_the_twin_socket_are_rejected() {
    let (_server, mut main, mut twin) = twins();
    ring(&mut main, READ, 0x10, 4, 0);
    let request = twin.receive();
    twin.send(GET_INFO, &info(16), &[]);
    assert_eq!(twin.receive().errno(), Errno::INVAL);
    twin.send_raw(&reply_to(&request, &[1; 4]), &[]);
    wait_until("the read is over", || main.read_u32(0, DONE) == 1);
    assert!(twin.is_quiet());
}

#[test]
fn a_closed_twin_socket_ends_the_connection_when_it_is_needed() {
    let (server, mut main, twin) = twins();
    drop(twin);
    main.write(0, ADDRESS, &0_u64.to_le_bytes());
    main.write_u32(0, LENGTH, 4);
    main.send(REGION_WRITE, &region_write(0, DOORBELL, &READ.to_le_bytes()), &[]);
    while main.next().is_some() {}
    server.client().assert_in_sync();
}

#[test]
fn a_client_that_goes_but_keeps_a_full_twin_socket_does_not_block_the_next() {
    let (server, mut main, _twin) = twins();
    main.map(1 << 20, 4 << 20, None);
    // More than a socket's buffer holds, and the client does not read it.
    ring(&mut main, WRITE, 1 << 20, 1 << 20, 7);
    drop(main);
    wait_until("the next client is served", || {
        let mut next = Client::connect(&server.path());
        let sent = next.try_send_raw(&message(1, VERSION, &version(0, 1, b"")), &[]);
        sent.is_ok() && next.next().is_some()
    });
}
