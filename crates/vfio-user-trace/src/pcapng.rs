//! A file for Wireshark: the messages, as on the socket.
//!
//! A session is an interface; the link type is USER0. [`DISSECTOR`] tells Wireshark what is in a
//! message. A message of which the recording has the beginning alone is a packet that was cut. What is
//! no message (interrupts, mapped memory, timers) is not in the file.

use std::collections::BTreeSet;

use vfio_user_device::recording::{Event, MemoryAccess};
use vfio_user_device::wire::{Command, HeaderFlags};

use crate::Trace;
use crate::entry::Entry;

/// The dissector, in Lua: put it into Wireshark's folder for personal plugins, or name it with
/// `-X lua_script:`.
pub const DISSECTOR: &str = include_str!("vfio-user.lua");

/// LINKTYPE_USER0.
const LINK_TYPE: u16 = 147;
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const OPTION_COMMENT: u16 = 1;
const OPTION_NAME: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;
const OPTION_FLAGS: u16 = 2;
/// Nanoseconds: ten to the power of minus nine.
const NANOSECONDS: u8 = 9;
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// The messages that these entries come from, as a file.
#[must_use]
pub fn write(trace: &Trace, entries: &[&Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut section = BYTE_ORDER.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend(u64::MAX.to_le_bytes());
    block(&mut out, SECTION, &section);
    let sessions: BTreeSet<u32> = entries.iter().map(|entry| entry.session).collect();
    for session in &sessions {
        block(&mut out, INTERFACE, &interface(trace, *session));
    }
    let mut packets = packets(trace, entries);
    packets.sort_by_key(|packet| packet.time);
    for packet in &packets {
        let place = sessions.iter().position(|session| *session == packet.session);
        let interface = u32::try_from(place.unwrap_or(0)).unwrap_or(0);
        let body = packet.block(interface, trace.file.time_of_day);
        block(&mut out, PACKET, &body);
    }
    out
}

/// The body of a session's block.
fn interface(trace: &Trace, session: u32) -> Vec<u8> {
    let server = trace.session(session).map_or("", |info| info.server.as_str());
    let mut body = LINK_TYPE.to_le_bytes().to_vec();
    body.extend([0; 6]);
    option(&mut body, OPTION_NAME, format!("session {session} {server}").as_bytes());
    option(&mut body, OPTION_RESOLUTION, &[NANOSECONDS]);
    option(&mut body, 0, &[]);
    body
}

struct Packet {
    time: u64,
    session: u32,
    direction: u32,
    header: [u8; 16],
    payload: Vec<u8>,
    comment: String,
}

fn packets(trace: &Trace, entries: &[&Entry]) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut last = None;
    for entry in entries {
        if last.replace(entry.index) == Some(entry.index) {
            continue;
        }
        let Some(event) = trace.file.events.get(entry.index) else { continue };
        let packet = |time, direction, header, payload: &[u8]| Packet {
            time,
            session: event.session,
            direction,
            header,
            payload: payload.to_vec(),
            comment: entry.to_string(),
        };
        match &event.event {
            Event::Message(message) => {
                packets.push(packet(event.time, INBOUND, message.command, &message.payload));
                if let Some((header, payload)) = &message.reply {
                    let time = event.time.saturating_add(message.duration.into());
                    packets.push(packet(time, OUTBOUND, *header, payload));
                }
            }
            Event::Memory(access) => {
                if let Some(id) = access.message {
                    for (direction, header, payload) in memory_messages(access, id) {
                        packets.push(packet(event.time, direction, header, &payload));
                    }
                }
            }
            _ => {}
        }
    }
    packets
}

/// The message by which guest memory was accessed, and the client's reply.
fn memory_messages(access: &MemoryAccess, id: u16) -> [(u32, [u8; 16], Vec<u8>); 2] {
    let command = if access.is_write { Command::DmaWrite } else { Command::DmaRead };
    let mut head = access.address.to_le_bytes().to_vec();
    head.extend(u64::from(access.count).to_le_bytes());
    let with_data = [head.as_slice(), &access.data].concat();
    let header = |payload: u32, flags: HeaderFlags, error: u32| {
        let mut header = [0; 16];
        header[..2].copy_from_slice(&id.to_le_bytes());
        header[2..4].copy_from_slice(&(command as u16).to_le_bytes());
        header[4..8].copy_from_slice(&payload.saturating_add(16).to_le_bytes());
        header[8..12].copy_from_slice(&flags.bits().to_le_bytes());
        header[12..].copy_from_slice(&error.to_le_bytes());
        header
    };
    let whole = access.count.saturating_add(16);
    let (asked, answered) = if access.is_write { (whole, 16) } else { (16, whole) };
    let (request, reply) = if access.is_write { (with_data, head) } else { (head, with_data) };
    let request = (OUTBOUND, header(asked, HeaderFlags::empty(), 0), request);
    let reply = match access.error {
        0 => (INBOUND, header(answered, HeaderFlags::REPLY, 0), reply),
        error => (INBOUND, header(0, HeaderFlags::REPLY | HeaderFlags::ERROR, error), Vec::new()),
    };
    [request, reply]
}

impl Packet {
    /// The body of its block.
    fn block(&self, interface: u32, time_of_day: u64) -> Vec<u8> {
        let time = time_of_day.saturating_add(self.time);
        let size: [u8; 4] = self.header[4..8].try_into().unwrap_or_default();
        let captured = u32::try_from(16 + self.payload.len()).unwrap_or(u32::MAX);
        let original = u32::from_le_bytes(size).max(captured);
        let high = u32::try_from(time >> 32).unwrap_or(0);
        let low = u32::try_from(time & u64::from(u32::MAX)).unwrap_or(0);
        let mut body = Vec::new();
        for number in [interface, high, low, captured, original] {
            body.extend(number.to_le_bytes());
        }
        body.extend(self.header);
        body.extend(&self.payload);
        pad(&mut body);
        option(&mut body, OPTION_COMMENT, self.comment.as_bytes());
        option(&mut body, OPTION_FLAGS, &self.direction.to_le_bytes());
        option(&mut body, 0, &[]);
        body
    }
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let mut body = body.to_vec();
    pad(&mut body);
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    out.extend(kind.to_le_bytes());
    out.extend(length);
    out.extend(body);
    out.extend(length);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend(code.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(value.get(..length.into()).unwrap_or(value));
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    /// The kinds of the blocks of a file, whose lengths have to lead from one to the next.
    fn kinds(bytes: &[u8]) -> Vec<u32> {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let (mut at, mut kinds) = (0, Vec::new());
        while at < bytes.len() {
            let length = number(at + 4) as usize;
            assert_eq!(number(at + length - 4) as usize, length);
            kinds.push(number(at));
            at += length;
        }
        kinds
    }

    #[test]
    fn each_message_and_each_reply_is_a_packet() {
        let trace = examples::trace();
        let entries: Vec<&Entry> = trace.entries.iter().collect();
        let kinds = kinds(&write(&trace, &entries));
        assert_eq!(kinds[..2], [SECTION, INTERFACE]);
        // Five commands with replies, and a DMA_WRITE with its own.
        assert_eq!(kinds[2..], [PACKET; 12]);
    }

    #[test]
    fn a_message_that_was_cut_says_how_long_it_was() {
        let header: [u8; 16] = {
            let mut header = [0; 16];
            header[4..8].copy_from_slice(&5000_u32.to_le_bytes());
            header
        };
        let packet = Packet {
            time: 1,
            session: 1,
            direction: INBOUND,
            header,
            payload: vec![0; 84],
            comment: String::new(),
        };
        let body = packet.block(0, 0);
        let number = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!((number(12), number(16)), (100, 5000));
    }
}
