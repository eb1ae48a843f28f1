//! VERSION.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::common::*;
use crate::daemon::Daemon;

/// Proposes a version that has to be refused: EINVAL, then the end, and the next client is served.
#[track_caller]
fn refused(payload: &[u8]) {
    let daemon = Daemon::start(&[]);
    let mut client = Client::connect(&daemon.path());
    assert_eq!(client.request(VERSION, payload).errno(), Errno::INVAL);
    client.assert_closed();
    daemon.client().assert_in_sync();
    assert!(daemon.log().contains("no agreement on a protocol version"), "{}", daemon.log());
}

fn refused_json(json: &str) {
    refused(&version(0, 1, json.as_bytes()));
}

/// The JSON of the reply to a proposal.
fn answer(payload: &[u8]) -> (u16, u16, String) {
    let daemon = Daemon::start(&[]);
    let mut client = Client::connect(&daemon.path());
    let reply = client.request(VERSION, payload).ok();
    client.assert_in_sync();
    let number = |at: usize| u16::from_ne_bytes([reply[at], reply[at + 1]]);
    assert_eq!(reply.last(), Some(&0), "NUL at the end");
    let json = String::from_utf8(reply[4..reply.len() - 1].to_vec()).unwrap();
    (number(0), number(2), json)
}

#[test]
fn qemus_proposal_gets_a_reply_that_is_no_longer_and_a_subset() {
    let (major, minor, json) = answer(&version(0, 0, QEMU_PROPOSAL));
    assert_eq!((major, minor), (0, 0));
    assert!(json.len() < QEMU_PROPOSAL.len());
    for key in ["max_msg_fds\":16", "max_data_xfer_size\":1048576", "max_dma_maps\":65535"] {
        assert!(json.contains(key), "{json}");
    }
    assert!(json.contains("\"write_multiple\":true") && json.contains("\"pgsizes\":4096"));
    let migration = "\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":1048576}";
    assert!(json.contains(migration) && !json.contains("twin_socket"), "{json}");
}

#[test]
fn no_json_is_accepted_and_gets_no_capabilities() {
    assert_eq!(answer(&version(0, 1, b"")).2, "{\"capabilities\":{}}");
}

#[test]
fn empty_json_is_accepted_and_gets_no_capabilities() {
    assert_eq!(answer(&version(0, 1, b"{}\0")).2, "{\"capabilities\":{}}");
    assert_eq!(answer(&version(0, 1, b"{\"capabilities\":{}}\0")).2, "{\"capabilities\":{}}");
}

#[test]
fn only_proposed_capabilities_are_in_the_reply() {
    let (_, _, json) = answer(&version(0, 1, b"{\"capabilities\":{\"max_msg_fds\":8}}\0"));
    assert_eq!(json, "{\"capabilities\":{\"max_msg_fds\":16}}");
}

#[test]
fn write_multiple_false_is_not_answered_with_true() {
    let (_, _, json) = answer(&version(0, 1, b"{\"capabilities\":{\"write_multiple\":false}}\0"));
    assert!(!json.contains("true"), "{json}");
}

#[test]
fn unknown_keys_are_ignored() {
    let json = b"{\"a\":[{}],\"capabilities\":{\"colour\":{\"x\":1e99},\"pgsizes\":4096}}\0";
    assert_eq!(answer(&version(0, 1, json)).2, "{\"capabilities\":{\"pgsizes\":4096}}");
}

#[test]
fn the_smaller_minor_version_is_agreed_on() {
    assert_eq!(answer(&version(0, 0, b"")).1, 0);
    assert_eq!(answer(&version(0, 1, b"")).1, 1);
    assert_eq!(answer(&version(0, 0xffff, b"")).1, 1);
}

#[test]
fn another_major_version_is_refused() {
    refused(&version(1, 0, QEMU_PROPOSAL));
    refused(&version(0xffff, 0, QEMU_PROPOSAL));
}

#[test]
fn no_payload_is_refused() {
    refused(b"");
    refused(&[0; 3]);
}

#[test]
fn json_without_nul_is_refused() {
    refused_json("{\"capabilities\":{}}");
}

#[test]
fn a_nul_alone_is_refused() {
    refused_json("\0");
}

#[test]
fn json_without_brace_or_quote_is_refused() {
    refused_json("{\"capabilities\":{}\0");
    refused_json("{\"capabilities:{}}\0");
    refused_json("{\"capabilities\":{}}}\0");
}

#[test]
fn json_with_a_nul_inside_is_refused() {
    refused_json("{}\0{}\0");
}

#[test]
fn json_that_is_not_utf_8_is_refused() {
    refused(&version(0, 1, b"{\"capabilities\":{\"max_msg_fds\":\"\xff\xfe\"}}\0"));
}

#[test]
fn json_that_is_deeply_nested_is_refused() {
    let mut deep = "{\"capabilities\":".repeat(1000);
    deep.push('\0');
    refused_json(&deep);
}

#[test]
fn unknown_keys_that_are_deeply_nested_do_no_harm() {
    let json = format!("{{\"x\":{}{}}}\0", "[".repeat(7000), "]".repeat(7000));
    let daemon = Daemon::start(&[]);
    let mut client = Client::connect(&daemon.path());
    client.send(VERSION, &version(0, 1, json.as_bytes()), &[]);
    client.next();
    drop(client);
    daemon.client().assert_in_sync();
}

#[test]
fn json_that_is_huge_is_refused() {
    let mut json = " ".repeat((1 << 20) - 64);
    json.push_str("{}\0");
    refused_json(&json);
}

#[test]
fn capabilities_that_are_no_object_are_refused() {
    refused_json("{\"capabilities\":3}\0");
    refused_json("{\"capabilities\":\"x\"}\0");
    refused_json("7\0");
}

#[test]
fn numbers_that_are_none_are_refused() {
    for value in ["\"8\"", "-1", "8.5", "1025", "18446744073709551616", "{}"] {
        refused_json(&format!("{{\"capabilities\":{{\"max_msg_fds\":{value}}}}}\0"));
    }
}

#[test]
fn a_data_size_of_nothing_is_refused() {
    refused_json("{\"capabilities\":{\"max_data_xfer_size\":0}}\0");
}

#[test]
fn migration_that_is_no_object_or_has_no_page_size_is_refused() {
    refused_json("{\"capabilities\":{\"migration\":1}}\0");
    refused_json("{\"capabilities\":{\"migration\":{\"pgsize\":\"x\"}}}\0");
    refused_json("{\"capabilities\":{\"migration\":{\"pgsize\":4095}}}\0");
}

#[test]
fn descriptors_with_version_are_refused_and_closed() {
    let daemon = Daemon::start(&[]);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let mut client = Client::connect(&daemon.path());
    let reply = client.request_with(VERSION, &version(0, 1, b""), &[writer.as_fd()]);
    assert_eq!(reply.errno(), Errno::INVAL);
    client.assert_closed();
    drop(writer);
    wait_readable(&reader, "the last writer to go");
}

#[test]
fn another_command_first_is_refused() {
    let daemon = Daemon::start(&[]);
    for command in [GET_INFO, DMA_MAP, DEVICE_RESET, REGION_READ, 0, 0xffff] {
        let mut client = Client::connect(&daemon.path());
        assert_eq!(client.request(command, &[0; 32]).errno(), Errno::INVAL);
        client.assert_closed();
    }
    daemon.client().assert_in_sync();
}

#[test]
fn a_reply_first_ends_the_connection() {
    let daemon = Daemon::start(&[]);
    let mut client = Client::connect(&daemon.path());
    client.send_with_flags(VERSION, REPLY, &version(0, 1, b""), &[]);
    while client.next().is_some() {}
    daemon.client().assert_in_sync();
}

#[test]
fn a_version_that_wants_no_reply_gets_none_and_ends_the_connection() {
    let daemon = Daemon::start(&[]);
    let mut client = Client::connect(&daemon.path());
    client.post(VERSION, &version(0, 1, b""), &[]);
    client.assert_closed();
}

#[test]
fn a_second_version_is_refused_and_the_connection_goes_on() {
    let daemon = Daemon::start(&[]);
    let errno = daemon.client().refused(VERSION, &version(0, 1, QEMU_PROPOSAL));
    assert_eq!(errno, Errno::INVAL);
}

#[test]
fn version_may_come_byte_by_byte() {
    let daemon = Daemon::start(&[]);
    let mut client = Client::connect(&daemon.path());
    for byte in message(1, VERSION, &version(0, 1, QEMU_PROPOSAL)) {
        client.send_raw(&[byte], &[]);
    }
    client.receive().ok();
    client.assert_in_sync();
}

#[test]
fn version_may_be_glued_to_what_comes_next() {
    let daemon = Daemon::start(&[]);
    let mut client = Client::connect(&daemon.path());
    let stream = [
        message(1, VERSION, &version(0, 1, b"")),
        message(2, DEVICE_RESET, b""),
        message(3, GET_INFO, &info(16)),
    ];
    client.send_raw(&stream.concat(), &[]);
    assert_eq!([1, 2, 3], [(); 3].map(|()| client.receive().id));
}
